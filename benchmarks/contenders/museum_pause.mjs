// One step of a fleet of two versions: node museum_pause.mjs FOLDER URL QUEUE add|pause|resume. FOLDER has node_modules.
import { createRequire } from 'node:module';

const [folder, url, name, step] = process.argv.slice(2);
const { Queue } = createRequire(`${folder}/`)('bullmq');
const { hostname: host, port } = new URL(url);
const queue = new Queue(name, { connection: { host, port: +port, maxRetriesPerRequest: null } });
await (step === 'add' ? queue.add('j', {}) : queue[step]());
process.exit(0);
