"""An rq worker does a queue of jobs: results, a failure, a dependency, a retry."""

import sys
from datetime import timedelta

import rq_jobs
from redis import Redis
from rq import Queue, Retry, SimpleWorker
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry

connection = Redis(host=sys.argv[1], port=int(sys.argv[2]))
connection.flushall()
queue = Queue("work", connection=connection)
jobs = [queue.enqueue(rq_jobs.add, n, n) for n in range(20)]
bad = queue.enqueue(rq_jobs.fail)
retried = queue.enqueue(rq_jobs.fail, retry=Retry(max=2))
after = queue.enqueue(rq_jobs.add, 1, 2, depends_on=jobs[0])
later = queue.enqueue_in(timedelta(hours=1), rq_jobs.add, 5, 5)
assert len(queue) == 22, len(queue)

SimpleWorker([queue], connection=connection).work(burst=True, logging_level="WARNING")

assert [job.return_value() for job in jobs] == [n + n for n in range(20)]
assert after.return_value() == 3
assert bad.get_status() == "failed" and "as planned" in bad.latest_result().exc_string
assert retried.get_status() == "failed"
assert len(queue) == 0
assert len(FinishedJobRegistry(queue=queue)) == 21 and len(FailedJobRegistry(queue=queue)) == 2
assert later.id in ScheduledJobRegistry(queue=queue)
print("done")
