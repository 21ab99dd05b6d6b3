// A worker of BullMQ on Node for the museum, until it is killed: node museum_node.mjs '{"url": ..., "queue": ..., ...}'
// Each job sleeps for data.ms; with data.limited its first attempt says that it met a rate limit.
import { createRequire } from 'node:module';

const { Worker } = createRequire(new URL('../../tests/interop/', import.meta.url))('bullmq');
const { url, queue, concurrency, limiter, stalled } = JSON.parse(process.argv[2]);
const { hostname: host, port } = new URL(url);
const connection = { host, port: +port, maxRetriesPerRequest: null };

async function process_(job) {
  await new Promise(done => setTimeout(done, job.data.ms ?? 0));
  if (job.data.limited && job.attemptsStarted === 1) {
    await worker.rateLimit(500);
    throw Worker.RateLimitError();
  }
}

const worker = new Worker(queue, process_, {
  connection, concurrency, stalledInterval: stalled * 1000,
  ...(limiter ? { limiter: { max: limiter[0], duration: limiter[1] * 1000 } } : {}),
});
worker.on('error', () => {});
