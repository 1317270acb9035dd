// A BullMQ queue: jobs with results, a failure with retries, a delayed job, priorities, a flow of parent and children.
import assert from "node:assert/strict";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";

const connection = { host: process.argv[2], port: Number(process.argv[3]), maxRetriesPerRequest: null };
const queue = new Queue("work", { connection });
await queue.obliterate({ force: true });
const events = new QueueEvents("work", { connection });
await events.waitUntilReady();

let attempts = 0;
const worker = new Worker(
  "work",
  async (job) => {
    if (job.name === "flaky" && ++attempts < 3) throw new Error("as planned");
    if (job.name === "sum") return Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0);
    await job.updateProgress(50);
    return job.data.n * 2;
  },
  { connection, concurrency: 4 },
);

const jobs = await queue.addBulk(Array.from({ length: 20 }, (_, n) => ({ name: "double", data: { n }, opts: { priority: (n % 3) + 1 } })));
const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 30_000)));
assert.deepEqual(results, Array.from({ length: 20 }, (_, n) => n * 2));

const flaky = await queue.add("flaky", { n: 21 }, { attempts: 3, backoff: 10 });
assert.equal(await flaky.waitUntilFinished(events, 30_000), 42);
const delayed = await queue.add("double", { n: 4 }, { delay: 50 });
assert.equal(await delayed.waitUntilFinished(events, 30_000), 8);

const flow = new FlowProducer({ connection });
const tree = await flow.add({
  name: "sum",
  queueName: "work",
  children: [1, 2, 3].map((n) => ({ name: "double", queueName: "work", data: { n } })),
});
assert.equal(await tree.job.waitUntilFinished(events, 30_000), 12);

const counts = await queue.getJobCounts("completed", "failed", "waiting", "active", "delayed");
assert.deepEqual(counts, { completed: 26, failed: 0, waiting: 0, active: 0, delayed: 0 });
await worker.close();
await Promise.all([events.close(), flow.close(), queue.close()]);
console.log("done");
