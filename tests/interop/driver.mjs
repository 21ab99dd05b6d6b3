// The other end of the queue: does with BullMQ what it is told, a request a line of JSON on stdin, an answer a line on
// stdout. It knows no test; nodedriver.py says what can be asked. The package that it runs is its first argument: a name
// of package.json, "bullmq" if there is none.
//
//   {"id": 1, "op": "new", "class": "Queue", "args": ["mail", {...}]}      -> {"id": 1, "value": {"$ref": 1}}
//   {"id": 2, "op": "call", "ref": 1, "method": "add", "args": [...]}      -> the result, a job as {"$ref": n, "json": ...}
//   {"id": 3, "op": "get", "ref": 1, "property": "name"}
//   {"id": 4, "op": "listen", "ref": 1}; {"id": 5, "op": "heard", "ref": 1}  the events that an object emitted since
//   {"id": 6, "op": "clock", "now": 1750000000000}                          Date.now stands still there; null: it runs
//   {"id": 7, "op": "run", "code": "return await ...", "args": {...}}       a function's body, with `args`, `lib`, `kept`
//
// Arguments: {"$ref": n} is an object made before, {"$js": "code"} an expression, such as a processor or an error.

import { createInterface } from 'node:readline';
import Redis from 'ioredis';

const bullmq = await import(process.argv[2] ?? 'bullmq');

const objects = new Map(); // by reference
const heard = new Map(); // by reference: [[event, ...arguments], ...]
const kept = {}; // what code keeps from one request to the next
const lib = { ...bullmq, Redis };
const AsyncFunction = (async () => {}).constructor;
const runningClock = Date.now;

function keep(object) {
  const ref = objects.size + 1;
  objects.set(ref, object);
  return ref;
}

function plain(value) {
  if (value instanceof bullmq.Job) return { $ref: keep(value), json: value.toJSON() };
  if (value instanceof Error) return { name: value.name, message: value.message, code: value.code };
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map || value instanceof Set) return [...value];
  if (value && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]));
  }
  if (value && typeof value === 'object') return { $ref: keep(value) };
  return typeof value === 'function' || typeof value === 'symbol' ? String(value) : value;
}

function live(value) {
  if (Array.isArray(value)) return value.map(live);
  if (value && typeof value === 'object') {
    if ('$ref' in value) return objects.get(value.$ref);
    if ('$js' in value) return new Function('lib', 'kept', `return (${value.$js})`)(lib, kept);
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, live(part)]));
  }
  return value;
}

function listen(ref) {
  const object = objects.get(ref);
  const entries = [];
  heard.set(ref, entries);
  const emit = object.emit.bind(object);
  object.emit = (event, ...args) => {
    entries.push([event, ...args]);
    return emit(event, ...args) || event === 'error';
  };
}

const operations = {
  new: ({ class: name, args }) => {
    const object = new lib[name](...live(args));
    // without a listener, an error would end this process; those who listen hear it
    object.on?.('error', error => heard.has(ref) || console.error(`${name}: ${error.message}`));
    const ref = keep(object);
    return { $ref: ref };
  },
  call: ({ ref, method, args }) => {
    const object = objects.get(ref);
    if (typeof object[method] !== 'function') throw new TypeError(`${object.constructor.name} has no ${method}()`);
    return object[method](...live(args));
  },
  get: ({ ref, property }) => objects.get(ref)[property],
  listen: ({ ref }) => listen(ref),
  heard: ({ ref }) => heard.get(ref).map(entry => entry.map(plain)),
  clock: ({ now }) => {
    Date.now = now === null ? runningClock : () => now;
  },
  run: ({ code, args }) => new AsyncFunction('args', 'lib', 'kept', code)(live(args), lib, kept),
};

function answer(id, fields) {
  process.stdout.write(`${JSON.stringify({ id, ...fields })}\n`);
}

createInterface({ input: process.stdin })
  .on('line', async line => {
    const request = JSON.parse(line);
    try {
      const value = await operations[request.op](request);
      answer(request.id, { value: plain(value) ?? null });
    } catch (error) {
      answer(request.id, { error: { name: error.name, message: String(error.message), code: error.code, stack: error.stack } });
    }
  })
  .on('close', () => process.exit(0)); // whoever asked is gone
