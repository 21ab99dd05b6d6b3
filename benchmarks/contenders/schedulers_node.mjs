// Runs job schedulers on BullMQ on Node: node schedulers_node.mjs redis://127.0.0.1:PORT SECONDS < rules.json
//   rules: {id: {every, offset} or {pattern, tz}} in ms, as upsertJobScheduler takes them.
// Prints one line of JSON: for each id [tick, when it was started] of each run, in ms since the Unix epoch.
import { createRequire } from 'node:module';

const { Queue, Worker } = createRequire(new URL('../../tests/interop/', import.meta.url))('bullmq');
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const rules = JSON.parse(Buffer.concat(chunks).toString());
const { hostname: host, port } = new URL(process.argv[2]);
const connection = { host, port: +port, maxRetriesPerRequest: null };
const queue = new Queue('node', { connection });
const ticks = Object.fromEntries(Object.keys(rules).map(id => [id, []]));
const run = async job => {
  const [, id, due] = job.id.split(':');
  ticks[id].push([+due, Date.now()]);
};
const options = { connection, concurrency: 50, removeOnComplete: { count: 0 } };
const workers = [1, 2].map(() => new Worker('node', run, options));
for (const [id, rule] of Object.entries(rules)) await queue.upsertJobScheduler(id, rule, { name: 'tick' });
await new Promise(done => setTimeout(done, 1000 * Number(process.argv[3])));
await Promise.all(workers.map(worker => worker.close()));
await queue.close();
process.stdout.write(`${JSON.stringify(ticks)}\n`, () => process.exit(0));
