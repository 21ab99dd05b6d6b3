// Plays a schedule of jobs on BullMQ on Node: node parity_node.mjs redis://127.0.0.1:PORT < plan.json
//   plan: {concurrency, limiter: {max, duration}, jobs: [{at, name, opts, service, failures}]}; `at` and `service` are
//   seconds, `failures` says of each attempt whether it fails.
// Prints one line of JSON: for each job [added, first start, finished] in seconds since the first moment of the plan.
import { createRequire } from 'node:module';

const { Queue, Worker } = createRequire(new URL('../../tests/interop/', import.meta.url))('bullmq');
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const plan = JSON.parse(Buffer.concat(chunks).toString());
const { hostname: host, port } = new URL(process.argv[2]);
const connection = { host, port: +port, maxRetriesPerRequest: null };
const queue = new Queue('parity', { connection });
const clock = () => (performance.timeOrigin + performance.now()) / 1000;
const sleep = seconds => new Promise(done => setTimeout(done, 1000 * Math.max(seconds, 0)));
const rows = plan.jobs.map(() => [null, null, null]);
let left = plan.jobs.length;
let allDone;
const over = new Promise(done => (allDone = done));
let origin = clock();

async function handle(job) {
  const index = job.data.index;
  const planned = plan.jobs[index];
  rows[index][1] ??= clock() - origin;
  await sleep(planned.service);
  if (planned.failures[job.attemptsMade]) throw new Error('as planned');
}

function ended(job) {
  rows[job.data.index][2] = clock() - origin;
  if (--left === 0) allDone();
}

const worker = new Worker('parity', handle, { connection, concurrency: plan.concurrency, limiter: plan.limiter });
worker.on('completed', ended);
worker.on('failed', job => job.attemptsMade >= (job.opts.attempts ?? 1) && ended(job));
await worker.waitUntilReady();
await queue.waitUntilReady();
// its scripts are loaded and compiled, as they are in a program that has been running for a while
await queue.getJobCounts();
origin = clock();
for (let index = 0; index < plan.jobs.length; ) {
  const at = plan.jobs[index].at;
  await sleep(at - (clock() - origin));
  const together = [];
  for (; index < plan.jobs.length && plan.jobs[index].at === at; index++) {
    const { name, opts } = plan.jobs[index];
    together.push({ name, data: { index }, opts });
    rows[index][0] = clock() - origin;
  }
  // not awaited: arrivals do not wait for each other
  void queue.addBulk(together);
}
await over;
console.log(JSON.stringify(rows));
process.exit(0);
