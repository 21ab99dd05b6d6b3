// BullMQ on Node: add in bulk, process, pick up, keep to a limiter. Prints one line of JSON.
//   node bullmq_node.mjs redis://127.0.0.1:PORT add|process|pickup|limiter COUNT CONCURRENCY
import { createRequire } from 'node:module';

const { Queue, Worker } = createRequire(new URL('../../tests/interop/', import.meta.url))('bullmq');
const [url, what, count, concurrency] = [process.argv[2], process.argv[3], +process.argv[4], +process.argv[5]];
const { hostname: host, port } = new URL(url);
const connection = { host, port: +port, maxRetriesPerRequest: null };
const queue = new Queue('bench', { connection });
const opts = { removeOnComplete: 100, removeOnFail: 50 };
const BATCH = 1000;

const measures = {
  async add() {
    const before = performance.now();
    for (let first = 0; first < count; first += BATCH) {
      await queue.addBulk(Array.from({ length: BATCH }, (_, i) => ({ name: 'j', data: { i: first + i }, opts })));
    }
    return { rate: (1000 * count) / (performance.now() - before) };
  },
  async process() {
    let left = count;
    const before = performance.now();
    await new Promise(done => {
      const worker = new Worker('bench', async () => {}, { connection, concurrency, removeOnComplete: { count: 100 } });
      worker.on('completed', () => --left === 0 && done());
    });
    return { rate: (1000 * count) / (performance.now() - before) };
  },
  async pickup() {
    let started;
    const worker = new Worker('bench', async () => started(performance.now()), { connection, concurrency });
    await worker.waitUntilReady();
    const waits = [];
    for (let i = 0; i < count; i++) {
      await new Promise(done => setTimeout(done, 20));
      const start = new Promise(done => (started = done));
      const before = performance.now();
      await queue.add('j', {}, opts);
      waits.push((await start) - before);
    }
    waits.sort((a, b) => a - b);
    return { median: waits[count >> 1], p99: waits[Math.floor(0.99 * count)] };
  },
  async limiter() {
    const starts = [];
    await queue.addBulk(Array.from({ length: count }, () => ({ name: 'j', data: {}, opts })));
    await new Promise(done => {
      const note = async () => starts.push(performance.now()) === count && done();
      new Worker('bench', note, { connection, concurrency, limiter: { max: 5, duration: 1000 } });
    });
    return { starts: starts.map(start => Math.round(start - starts[0]) / 1000) };
  },
};
console.log(JSON.stringify(await measures[what]()));
process.exit(0);
