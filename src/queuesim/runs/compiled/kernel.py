"""The compiled loop: the virtual loop, its workers and the memory broker over arrays, for scenarios without user code.

It repeats what the virtual loop does step by step, because the order of what happens at one instant decides who gets
which job. Two rules give that order. What is ready runs first in, first out; when nothing is ready, all timers of the
next instant become ready in the order in which they were set (`VirtualLoop._run`). And a future that is resolved makes
its task ready, it does not run it: each such hop is an entry of its own here. The rules of the queue are those of
`MemoryBroker`, those of a worker are `Worker`'s; the functions bear the names of their methods.

All state is in arrays, so that the loop can return to Python between two steps: for more random numbers, for more
room, for Ctrl-C and progress. Only this file is compiled; numba's cache on disk goes by the file's time of change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

from queuesim.core.events import EventKind
from queuesim.core.job import JobState
from queuesim.results.recording import Ending

Array = npt.NDArray[Any]

inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""For functions that only compiled code calls: Python can't call them, which halves the time to compile."""

# -- What can be ready, or wait in the heap

(
    PRODUCER,  # the next step of a load
    SLOT,  # of a slot
    FILL,  # of the task that fills a worker's slots
    WAIT_OVER,  # the timer of a worker that waits for a delayed job
    HOLD_OVER,  # of one that the limiter holds
    TIMEOUT,  # of an attempt
    END,  # of the run's load
    ENDED,  # the run after that
    START,  # the timer of a worker that starts later
    STARTED,  # the worker after that
    DRAIN_OVER,  # the timer of the drain
    DRAINING,  # the drain after that
    CLOSED,  # the next step of a producer of a closed model
) = range(13)
KINDS = 16
"""A code is the kind of a step, and 16 times of what."""

# -- What a worker's task that fills slots goes on with

LOOK, VACANCY, WAITED, TAKE = range(4)

# -- What a slot goes on with

BEGIN, SERVED, SLOWED, TIMED_OUT = range(4)

# -- What a producer goes on with

FIRST, ARRIVE, ADD = range(3)

# -- What a producer of a closed model goes on with

NEXT, PUT, PAUSE = range(3)

# -- Counters and times of the run

(
    READY_HEAD,
    READY_COUNT,
    HEAP,
    ORDER,
    STALE,
    JOBS,
    ATTEMPTS,
    EVENTS,
    WINDOWS,
    WAIT_HEAD,
    WAIT_TAIL,
    WAIT_COUNT,
    PRIORITIZED,
    PRIORITY_COUNTER,
    DELAYED,
    ENTRIES,
    ACTIVE,
    WINDOW_COUNT,
    WAITER_HEAD,
    WAITER_TAIL,
    REFILL,
    CANCELLED,
    DRAINS,
    INSTANT,
    ENDINGS,
    BAIL,
    FINISHED,
    TAKEN,
    RING,
    JOB_ROOM,
    ATTEMPT_ROOM,
    EVENT_ROOM,
    WINDOW_ROOM,
    COUNTERS,
) = range(34)
NOW, WINDOW_EXPIRES, LIMITED, DUE, DEADLINE, DRAIN_BEGAN, PROGRESSED, MOVED, TIMES = range(9)

# -- Why `play` returns

DONE, MORE_DRAWS, MORE_ROOM, PAUSED, GAVE_UP = range(5)

# -- Why it gives up: what is so rare, or so long, that the virtual loop shall judge it

NOTHING, TOO_MANY_STEPS, TOO_MANY_ATTEMPTS, LONG_DRAIN, STANDSTILL, NO_TIMEOUT, SHORT_WAIT = range(7)

MOST_STEPS = 500_000
"""Steps at one instant; well below those after which the virtual loop speaks of a livelock."""
MOST_ATTEMPTS = 1000
"""From this many attempts on, the recorder counts a failure as no progress."""
LONGEST_REST = 80_000.0
"""Seconds without any movement in a drain; below those after which the virtual loop looks closer."""
PROMOTED_AT_ONCE = 1000
LONGEST_HOLD, SHORTEST_HOLD = 30.0, 1e-6
PURGE_FROM = 64

ROOM = 2 * PROMOTED_AT_ONCE + 64
"""Events that one step can make, without those of adding jobs."""

ADDED_EVENT = EventKind.ADDED.code
WAITING_EVENT = EventKind.WAITING.code
DELAYED_EVENT = EventKind.DELAYED.code
ACTIVE_EVENT = EventKind.ACTIVE.code
COMPLETED_EVENT = EventKind.COMPLETED.code
FAILED_EVENT = EventKind.FAILED.code
EXHAUSTED_EVENT = EventKind.RETRIES_EXHAUSTED.code
DRAINED_EVENT = EventKind.DRAINED.code

IN_WAIT = JobState.WAITING.code
IN_PRIORITIZED = JobState.PRIORITIZED.code
IN_DELAYED = JobState.DELAYED.code
IN_ACTIVE = JobState.ACTIVE.code
IN_COMPLETED = JobState.COMPLETED.code
IN_FAILED = JobState.FAILED.code

OK, RETRIED, FAILED, UNFINISHED = (
    int(Ending.OK),
    int(Ending.RETRIED),
    int(Ending.FAILED),
    int(Ending.UNFINISHED),
)


# -- Columns of the tables below

HEAP_ORDER, HEAP_CODE, HEAP_SEQ = range(3)
READY_CODE, READY_SEQ = range(2)
POSITION, FILLED = range(2)
MADE, TIMES_STARTED = range(2)
FOLLOWING, BEFORE = range(2)
DELAYED_ENTRY, DELAYED_JOB = range(2)
PRIORITIZED_KEY, PRIORITIZED_COUNTER, PRIORITIZED_JOB = range(3)
STAGE, VACANT_COUNT, EMPTY, WAITER_DONE, WAITER_LISTED, WAITER_NEXT, WAITER_BEFORE, WAIT_SEQ, TIMER_SET = range(9)
LIMITED_UNTIL, NEXT_DUE, PRESENT = range(3)
SLOT_STAGE, SLOT_JOB, SLOT_ATTEMPT, SLOT_ERROR, SLOT_SEQ, SLOT_NAPPING, SLOT_RUNNING, SLOT_TIMED = range(8)
SLOT_READY, SLOT_STARTED = range(2)
LOAD_STAGE, LOAD_TIME, LOAD_JOB = range(3)
LOAD_OF, THINK_STREAM, NEXT_STEP, NEXT_KIND = range(4)
UNTIL, THINK, SCHEDULED = range(3)
SERVICE_STREAM, FAILURE_STREAM, BOUNDED, POISON_ERROR, PRIORITY, LIFO, MOST_TRIES = range(7)
SERVICE, TIME_LIMIT, DELAY = range(3)
POISON_BOUND, POISON_SALT = range(2)
LIMIT_MAX, JITTER_STREAM = range(2)
WORKER_BEGINS, LIMIT_DURATION = range(2)
SIZE, BACKLOG, PRODUCERS, MIX_STREAM, MIXED = range(5)
# How many columns each has
(
    OF_HEAP,
    OF_READY,
    OF_STREAMS,
    OF_COUNTS,
    OF_LINKS,
    OF_DELAYED,
    OF_PRIORITIZED,
    OF_WORKER,
    OF_MOMENTS,
    OF_SLOT,
    OF_SLOT_TIMES,
    OF_LOAD,
    OF_KINDS,
    OF_KIND_TIMES,
    OF_POISON,
    OF_LIMITS,
    OF_WORKER_TIMES,
    OF_LOADS,
    OF_CLOSED,
    OF_CLOSED_TIMES,
) = 3, 2, 2, 2, 2, 2, 3, 9, 3, 8, 2, 3, 7, 3, 2, 2, 2, 5, 4, 3
(
    CONCURRENCY,
    DRAIN,
    LOADS,
    ERROR_TIMEOUT,
    WORKERS,
    SLOTS,
    MOST_SLOTS,
    DRAWS,
    ERRORS,
    MOST_BOUNDED,
    MOST_MADE,
    QUEUE_LIMIT,
    KNOWN_JOBS,
    MOST_MIXED,
) = range(14)
DURATION, DRAIN_TIME, COST, PICKUP, SLOW = range(5)


class Rules(NamedTuple):
    """What does not change while a scenario is played. A stream of -1 stands for none, and so does a limit of 0.

    Few tables of many columns rather than the reverse: the time to compile goes by the number of arrays.
    """

    kinds: Array  # [type]: SERVICE_STREAM to MOST_TRIES
    kind_times: Array  # [type]: SERVICE to DELAY, in seconds; a timeout of 0 is none
    bounds: Array  # [type, attempt, error]: drawn below it means that error; accumulated
    poison: Array  # [type]: the largest mixed number of a poisoned job, and the salt
    tries: Array  # [type, error]: attempts at most
    backoff: Array  # [type, error, attempts made]: seconds before jitter
    jitter: Array  # [type, error]
    limits: Array  # [worker]: LIMIT_MAX, JITTER_STREAM
    worker_times: Array  # [worker]: WORKER_BEGINS, LIMIT_DURATION
    first_slot: Array  # [worker], and one more
    worker_of: Array  # [slot]
    loads: Array  # [load]: SIZE, jobs each time, to MIXED, the number of job types
    first_producer: Array  # [load] into closed
    mix: Array  # [load, place]: a number drawn below it means a type before that place; for closed models
    mix_kinds: Array  # [load, place]: the type
    load_start: Array  # [load]
    first_time: Array  # [load] into times, and one more
    first_job: Array  # [load] into types
    times: Array  # when jobs are added
    types: Array  # of the jobs, load by load
    numbers: Array  # CONCURRENCY to MOST_MIXED
    seconds: Array  # DURATION to SLOW


class State(NamedTuple):
    """Everything that changes."""

    n: Array  # READY_HEAD to TAKEN
    t: Array  # NOW to MOVED
    heap_time: Array
    heap: Array  # [timer]: HEAP_ORDER to HEAP_SEQ
    ready: Array  # a ring of READY_CODE and READY_SEQ
    draws: Array  # [stream, position]
    streams: Array  # [stream]: POSITION, FILLED
    ready_at: Array  # [job]
    counts: Array  # [job]: MADE, TIMES_STARTED
    state: Array  # [job]
    links: Array  # [job]: FOLLOWING, BEFORE
    delayed_due: Array
    delayed: Array  # a heap: DELAYED_ENTRY, DELAYED_JOB
    prioritized: Array  # a heap: PRIORITIZED_KEY to PRIORITIZED_JOB
    worker: Array  # [worker]: STAGE to TIMER_SET
    moments: Array  # [worker]: LIMITED_UNTIL to PRESENT; NaN: none
    vacant: Array  # a heap of slots for each worker
    taken: Array  # the jobs of the last reply
    slot: Array  # [slot]: SLOT_STAGE to SLOT_TIMED
    slot_times: Array  # [slot]: SLOT_READY, SLOT_STARTED
    load: Array  # [load]: LOAD_STAGE to LOAD_JOB
    closed: Array  # [producer of a closed model]: LOAD_OF to NEXT_KIND
    closed_times: Array  # [producer]: UNTIL to SCHEDULED, in seconds
    owner: Array  # [job]: the producer of a closed model that waits for it; -1: none


class Rows(NamedTuple):
    """What is recorded; see `queuesim.results.recording`."""

    jobs: Array
    attempts: Array
    events: Array
    windows: Array


# -- Pointers: an array that is passed to a function costs two atomic operations there, a pointer costs none


@intrinsic
def data(typingctx: Any, array: Any) -> Any:
    """Where the elements of a contiguous array are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def row_of(typingctx: Any, pointer: Any, place: Any) -> Any:
    """A row of an array of records."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = context.get_abi_sizeof(context.get_data_type(signature.return_type))
        offset = builder.mul(arguments[1], arguments[1].type(size))
        address = builder.add(builder.ptrtoint(arguments[0], arguments[1].type), offset)
        return builder.inttoptr(address, context.get_value_type(signature.return_type))

    return pointer.dtype(pointer, types.intp), generate


@inner
def state_pointers(state: State) -> State:
    """The state as compiled functions pass it on."""
    return State(
        data(state.n),
        data(state.t),
        data(state.heap_time),
        data(state.heap),
        data(state.ready),
        data(state.draws),
        data(state.streams),
        data(state.ready_at),
        data(state.counts),
        data(state.state),
        data(state.links),
        data(state.delayed_due),
        data(state.delayed),
        data(state.prioritized),
        data(state.worker),
        data(state.moments),
        data(state.vacant),
        data(state.taken),
        data(state.slot),
        data(state.slot_times),
        data(state.load),
        data(state.closed),
        data(state.closed_times),
        data(state.owner),
    )


@inner
def rule_pointers(rules: Rules) -> Rules:
    """The rules, likewise."""
    return Rules(
        data(rules.kinds),
        data(rules.kind_times),
        data(rules.bounds),
        data(rules.poison),
        data(rules.tries),
        data(rules.backoff),
        data(rules.jitter),
        data(rules.limits),
        data(rules.worker_times),
        data(rules.first_slot),
        data(rules.worker_of),
        data(rules.loads),
        data(rules.first_producer),
        data(rules.mix),
        data(rules.mix_kinds),
        data(rules.load_start),
        data(rules.first_time),
        data(rules.first_job),
        data(rules.times),
        data(rules.types),
        data(rules.numbers),
        data(rules.seconds),
    )


@inner
def row_pointers(rows: Rows) -> Rows:
    """The rows, likewise."""
    return Rows(
        data(rows.jobs),
        data(rows.attempts),
        data(rows.events),
        data(rows.windows),
    )


# -- The loop: what is ready, and the heap of timers


@inner
def make_ready(s: State, code: int, seq: int) -> None:
    """`call_soon`: run this after all that is ready."""
    n = s.n
    place = (n[READY_HEAD] + n[READY_COUNT]) & s.n[RING]
    s.ready[place * OF_READY + READY_CODE] = code
    s.ready[place * OF_READY + READY_SEQ] = seq
    n[READY_COUNT] += 1


@inner
def sift_up(s: State, place: int) -> None:
    """Move a timer up in the heap to where it belongs."""
    time, order, code, seq = (
        s.heap_time[place],
        s.heap[place * OF_HEAP + HEAP_ORDER],
        s.heap[place * OF_HEAP + HEAP_CODE],
        s.heap[place * OF_HEAP + HEAP_SEQ],
    )
    while place > 0:
        parent = (place - 1) >> 1
        if s.heap_time[parent] < time or (
            s.heap_time[parent] == time and s.heap[parent * OF_HEAP + HEAP_ORDER] < order
        ):
            break
        s.heap_time[place] = s.heap_time[parent]
        s.heap[place * OF_HEAP + HEAP_ORDER] = s.heap[parent * OF_HEAP + HEAP_ORDER]
        s.heap[place * OF_HEAP + HEAP_CODE] = s.heap[parent * OF_HEAP + HEAP_CODE]
        s.heap[place * OF_HEAP + HEAP_SEQ] = s.heap[parent * OF_HEAP + HEAP_SEQ]
        place = parent
    s.heap_time[place] = time
    s.heap[place * OF_HEAP + HEAP_ORDER] = order
    s.heap[place * OF_HEAP + HEAP_CODE] = code
    s.heap[place * OF_HEAP + HEAP_SEQ] = seq


@inner
def sift_down(s: State, place: int) -> None:
    """Move a timer down in the heap to where it belongs."""
    size = s.n[HEAP]
    time, order, code, seq = (
        s.heap_time[place],
        s.heap[place * OF_HEAP + HEAP_ORDER],
        s.heap[place * OF_HEAP + HEAP_CODE],
        s.heap[place * OF_HEAP + HEAP_SEQ],
    )
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            s.heap_time[other] < s.heap_time[child]
            or (
                s.heap_time[other] == s.heap_time[child]
                and s.heap[other * OF_HEAP + HEAP_ORDER] < s.heap[child * OF_HEAP + HEAP_ORDER]
            )
        ):
            child = other
        if time < s.heap_time[child] or (time == s.heap_time[child] and order < s.heap[child * OF_HEAP + HEAP_ORDER]):
            break
        s.heap_time[place] = s.heap_time[child]
        s.heap[place * OF_HEAP + HEAP_ORDER] = s.heap[child * OF_HEAP + HEAP_ORDER]
        s.heap[place * OF_HEAP + HEAP_CODE] = s.heap[child * OF_HEAP + HEAP_CODE]
        s.heap[place * OF_HEAP + HEAP_SEQ] = s.heap[child * OF_HEAP + HEAP_SEQ]
        place = child
    s.heap_time[place] = time
    s.heap[place * OF_HEAP + HEAP_ORDER] = order
    s.heap[place * OF_HEAP + HEAP_CODE] = code
    s.heap[place * OF_HEAP + HEAP_SEQ] = seq


@inner
def call_at(s: State, when: float, code: int, seq: int) -> None:
    """Set a timer. The caller sees to it that `when` is not past."""
    n = s.n
    if n[STALE] > PURGE_FROM and 2 * n[STALE] > n[HEAP]:
        purge(s)
    place = n[HEAP]
    n[HEAP] += 1
    n[ORDER] += 1
    s.heap_time[place] = when
    s.heap[place * OF_HEAP + HEAP_ORDER] = n[ORDER]
    s.heap[place * OF_HEAP + HEAP_CODE] = code
    s.heap[place * OF_HEAP + HEAP_SEQ] = seq
    sift_up(s, place)


@inner
def is_stale(s: State, code: int, seq: int) -> bool:
    """Whether a timer was cancelled."""
    kind, which = code % KINDS, code // KINDS
    if kind == WAIT_OVER:
        return seq != s.worker[which * OF_WORKER + WAIT_SEQ]
    if kind in (TIMEOUT, SLOT):
        return seq != s.slot[which * OF_SLOT + SLOT_SEQ]
    return False


@inner
def purge(s: State) -> None:
    """Take the cancelled timers out of the heap."""
    n = s.n
    kept = 0
    for place in range(n[HEAP]):
        if not is_stale(s, s.heap[place * OF_HEAP + HEAP_CODE], s.heap[place * OF_HEAP + HEAP_SEQ]):
            s.heap_time[kept] = s.heap_time[place]
            s.heap[kept * OF_HEAP + HEAP_ORDER] = s.heap[place * OF_HEAP + HEAP_ORDER]
            s.heap[kept * OF_HEAP + HEAP_CODE] = s.heap[place * OF_HEAP + HEAP_CODE]
            s.heap[kept * OF_HEAP + HEAP_SEQ] = s.heap[place * OF_HEAP + HEAP_SEQ]
            kept += 1
    n[HEAP] = kept
    n[STALE] = 0
    for place in range(kept // 2 - 1, -1, -1):
        sift_down(s, place)


@inner
def pop_timer(s: State) -> None:
    """Make the first timer ready, unless it was cancelled."""
    n = s.n
    code, seq = s.heap[HEAP_CODE], s.heap[HEAP_SEQ]
    n[HEAP] -= 1
    last = n[HEAP]
    if last > 0:
        s.heap_time[0] = s.heap_time[last]
        s.heap[HEAP_ORDER] = s.heap[last * OF_HEAP + HEAP_ORDER]
        s.heap[HEAP_CODE] = s.heap[last * OF_HEAP + HEAP_CODE]
        s.heap[HEAP_SEQ] = s.heap[last * OF_HEAP + HEAP_SEQ]
        sift_down(s, 0)
    if is_stale(s, code, seq):
        n[STALE] -= 1
        return
    if code % KINDS == SLOT:
        s.slot[(code // KINDS) * OF_SLOT + SLOT_NAPPING] = 0
    make_ready(s, code, seq)


@inner
def sleep(s: State, seconds: float, code: int, seq: int) -> bool:
    """`VirtualLoop.sleep`: true if it waits in the heap, false if only all that is ready goes first."""
    if seconds > 0:
        call_at(s, s.t[NOW] + seconds, code, seq)
        return True
    make_ready(s, code, seq)
    return False


@inner
def sleep_until(s: State, when: float, code: int, seq: int) -> None:
    """`VirtualLoop.sleep_until`."""
    if s.t[NOW] < when:
        call_at(s, when, code, seq)
    else:
        make_ready(s, code, seq)


@inner
def draw(s: State, r: Rules, stream: int) -> Any:
    """The next number of a stream."""
    place = s.streams[stream * OF_STREAMS + POSITION]
    s.streams[stream * OF_STREAMS + POSITION] = place + 1
    if s.streams[stream * OF_STREAMS + FILLED] - place < 4:
        s.n[REFILL] = 1
    return s.draws[stream * r.numbers[DRAWS] + place]


# -- Rows


@inner
def emit(s: State, rows: Rows, kind: int, number: int, previous: int) -> None:
    """Record an event."""
    row = s.n[EVENTS]
    event = row_of(rows.events, row)
    event.time = s.t[NOW]
    event.number = number
    event.kind = kind
    event.previous = previous
    s.n[EVENTS] = row + 1


# -- The queue: see MemoryBroker


@inner
def has_work(s: State, r: Rules) -> bool:
    """Whether a worker that comes now would find a job."""
    if s.n[WAIT_COUNT] + s.n[PRIORITIZED] == 0:
        return False
    most = r.numbers[CONCURRENCY]
    return most == 0 or s.n[ACTIVE] < most


@inner
def unlist(s: State, worker: int) -> None:
    """Take a worker out of those that wait for work."""
    n = s.n
    before, after = s.worker[worker * OF_WORKER + WAITER_BEFORE], s.worker[worker * OF_WORKER + WAITER_NEXT]
    if before >= 0:
        s.worker[before * OF_WORKER + WAITER_NEXT] = after
    else:
        n[WAITER_HEAD] = after
    if after >= 0:
        s.worker[after * OF_WORKER + WAITER_BEFORE] = before
    else:
        n[WAITER_TAIL] = before
    s.worker[worker * OF_WORKER + WAITER_LISTED] = 0


@inner
def enlist(s: State, worker: int) -> None:
    """Put a worker at the end of those that wait for work."""
    n = s.n
    last = n[WAITER_TAIL]
    s.worker[worker * OF_WORKER + WAITER_BEFORE] = last
    s.worker[worker * OF_WORKER + WAITER_NEXT] = -1
    if last >= 0:
        s.worker[last * OF_WORKER + WAITER_NEXT] = worker
    else:
        n[WAITER_HEAD] = worker
    n[WAITER_TAIL] = worker
    s.worker[worker * OF_WORKER + WAITER_LISTED] = 1
    s.worker[worker * OF_WORKER + WAITER_DONE] = 0


@inner
def wake(s: State, r: Rules) -> None:
    """Wake one waiting worker if there is something to take."""
    while s.n[WAITER_HEAD] >= 0 and has_work(s, r):
        worker = s.n[WAITER_HEAD]
        unlist(s, worker)
        if s.worker[worker * OF_WORKER + WAITER_DONE] == 0:
            s.worker[worker * OF_WORKER + WAITER_DONE] = 1
            make_ready(s, FILL + KINDS * worker, 0)
            return


@inner
def wake_all(s: State) -> None:
    """Wake all waiting workers."""
    while s.n[WAITER_HEAD] >= 0:
        worker = s.n[WAITER_HEAD]
        unlist(s, worker)
        if s.worker[worker * OF_WORKER + WAITER_DONE] == 0:
            s.worker[worker * OF_WORKER + WAITER_DONE] = 1
            make_ready(s, FILL + KINDS * worker, 0)


@inner
def prioritized_before(s: State, a: int, b: int) -> bool:
    """Whether one entry of the prioritized goes before another."""
    if s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_KEY] != s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_KEY]:
        return s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_KEY] < s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_KEY]
    return (
        s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_COUNTER]
        < s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_COUNTER]
    )


@inner
def swap_prioritized(s: State, a: int, b: int) -> None:
    """Swap two entries of the prioritized."""
    s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_KEY], s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_KEY] = (
        s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_KEY],
        s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_KEY],
    )
    s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_COUNTER], s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_COUNTER] = (
        s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_COUNTER],
        s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_COUNTER],
    )
    s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_JOB], s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_JOB] = (
        s.prioritized[b * OF_PRIORITIZED + PRIORITIZED_JOB],
        s.prioritized[a * OF_PRIORITIZED + PRIORITIZED_JOB],
    )


@inner
def prioritize(s: State, job: int, priority: int) -> None:
    """Put a job among the prioritized."""
    n = s.n
    n[PRIORITY_COUNTER] += 1
    place = n[PRIORITIZED]
    n[PRIORITIZED] += 1
    s.prioritized[place * OF_PRIORITIZED + PRIORITIZED_KEY] = priority
    s.prioritized[place * OF_PRIORITIZED + PRIORITIZED_COUNTER] = n[PRIORITY_COUNTER]
    s.prioritized[place * OF_PRIORITIZED + PRIORITIZED_JOB] = job
    s.state[job] = IN_PRIORITIZED
    while place > 0:
        parent = (place - 1) >> 1
        if not prioritized_before(s, place, parent):
            break
        swap_prioritized(s, place, parent)
        place = parent


@inner
def pop_prioritized(s: State) -> Any:
    """The first of the prioritized jobs."""
    n = s.n
    job = s.prioritized[PRIORITIZED_JOB]
    n[PRIORITIZED] -= 1
    size = n[PRIORITIZED]
    swap_prioritized(s, 0, size)
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            return job
        if child + 1 < size and prioritized_before(s, child + 1, child):
            child += 1
        if not prioritized_before(s, child, place):
            return job
        swap_prioritized(s, child, place)
        place = child


@inner
def enqueue(s: State, r: Rules, rows: Rows, job: int, lifo: bool) -> None:
    """Let a job run: at the end of `wait` (at its front if lifo), or among the prioritized."""
    n = s.n
    priority = row_of(rows.jobs, job).priority
    if priority:
        prioritize(s, job, priority)
        return
    s.state[job] = IN_WAIT
    if n[WAIT_COUNT] == 0:
        s.links[job * OF_LINKS + BEFORE] = s.links[job * OF_LINKS + FOLLOWING] = -1
        n[WAIT_HEAD] = n[WAIT_TAIL] = job
    elif lifo:
        s.links[job * OF_LINKS + BEFORE], s.links[job * OF_LINKS + FOLLOWING] = -1, n[WAIT_HEAD]
        s.links[(n[WAIT_HEAD]) * OF_LINKS + BEFORE] = job
        n[WAIT_HEAD] = job
    else:
        s.links[job * OF_LINKS + BEFORE], s.links[job * OF_LINKS + FOLLOWING] = n[WAIT_TAIL], -1
        s.links[(n[WAIT_TAIL]) * OF_LINKS + FOLLOWING] = job
        n[WAIT_TAIL] = job
    n[WAIT_COUNT] += 1


@inner
def pop_next(s: State) -> Any:
    """The next job to start; -1: there is none. `wait` goes before `prioritized`, always."""
    n = s.n
    if n[WAIT_COUNT]:
        job = n[WAIT_HEAD]
        n[WAIT_HEAD] = s.links[job * OF_LINKS + FOLLOWING]
        n[WAIT_COUNT] -= 1
        if n[WAIT_COUNT]:
            s.links[(n[WAIT_HEAD]) * OF_LINKS + BEFORE] = -1
        return job
    if n[PRIORITIZED]:
        return pop_prioritized(s)
    n[PRIORITY_COUNTER] = 0
    return np.int64(-1)


@inner
def delayed_before(s: State, a: int, b: int) -> bool:
    """Whether one delayed job is due before another."""
    if s.delayed_due[a] != s.delayed_due[b]:
        return s.delayed_due[a] < s.delayed_due[b]
    return s.delayed[a * OF_DELAYED + DELAYED_ENTRY] < s.delayed[b * OF_DELAYED + DELAYED_ENTRY]


@inner
def swap_delayed(s: State, a: int, b: int) -> None:
    """Swap two delayed jobs."""
    s.delayed_due[a], s.delayed_due[b] = s.delayed_due[b], s.delayed_due[a]
    s.delayed[a * OF_DELAYED + DELAYED_ENTRY], s.delayed[b * OF_DELAYED + DELAYED_ENTRY] = (
        s.delayed[b * OF_DELAYED + DELAYED_ENTRY],
        s.delayed[a * OF_DELAYED + DELAYED_ENTRY],
    )
    s.delayed[a * OF_DELAYED + DELAYED_JOB], s.delayed[b * OF_DELAYED + DELAYED_JOB] = (
        s.delayed[b * OF_DELAYED + DELAYED_JOB],
        s.delayed[a * OF_DELAYED + DELAYED_JOB],
    )


@inner
def postpone(s: State, r: Rules, rows: Rows, job: int, due: float) -> None:
    """Put a job among the delayed. Jobs that are due at the same time keep their order."""
    n = s.n
    s.state[job] = IN_DELAYED
    s.ready_at[job] = due
    n[ENTRIES] += 1
    first = n[DELAYED] == 0 or due < s.delayed_due[0]
    place = n[DELAYED]
    n[DELAYED] += 1
    s.delayed_due[place] = due
    s.delayed[place * OF_DELAYED + DELAYED_ENTRY] = n[ENTRIES]
    s.delayed[place * OF_DELAYED + DELAYED_JOB] = job
    while place > 0:
        parent = (place - 1) >> 1
        if not delayed_before(s, place, parent):
            break
        swap_delayed(s, place, parent)
        place = parent
    emit(s, rows, DELAYED_EVENT, job + 1, 0)
    if first:
        wake_all(s)


@inner
def pop_delayed(s: State) -> Any:
    """The delayed job that is due first."""
    n = s.n
    job = s.delayed[DELAYED_JOB]
    n[DELAYED] -= 1
    size = n[DELAYED]
    swap_delayed(s, 0, size)
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            return job
        if child + 1 < size and delayed_before(s, child + 1, child):
            child += 1
        if not delayed_before(s, child, place):
            return job
        swap_delayed(s, child, place)
        place = child


@inner
def promote_due(s: State, r: Rules, rows: Rows) -> None:
    """Let the jobs that are due run, the earliest first. `lifo` has no effect here."""
    for _ in range(PROMOTED_AT_ONCE):
        if s.n[DELAYED] == 0 or s.delayed_due[0] > s.t[NOW]:
            return
        job = pop_delayed(s)
        enqueue(s, r, rows, job, False)
        emit(s, rows, WAITING_EVENT, job + 1, IN_DELAYED)


@inner
def first_due(s: State) -> Any:
    """When the first delayed job is due; NaN: there is none."""
    return s.delayed_due[0] if s.n[DELAYED] else np.nan


@inner
def count_start(s: State, rows: Rows, most: int, duration: float) -> None:
    """Count a start in the window of the limiter, or open a new window."""
    n, t = s.n, s.t
    if n[WINDOW_COUNT] and t[NOW] < t[WINDOW_EXPIRES]:
        n[WINDOW_COUNT] += 1
        return
    n[WINDOW_COUNT] = 1
    t[WINDOW_EXPIRES] = t[NOW] + duration
    window = row_of(rows.windows, n[WINDOWS])
    window.opened = t[NOW]
    window.closes = t[WINDOW_EXPIRES]
    window.max = most
    n[WINDOWS] += 1


@inner
def take_jobs(s: State, r: Rules, rows: Rows, worker: int, take: int) -> None:
    """`MemoryBroker._take`. The jobs are in `taken`; what else the reply says is in LIMITED and DUE."""
    n, t = s.n, s.t
    n[TAKEN] = 0
    t[LIMITED] = t[DUE] = np.nan
    if n[DELAYED]:
        promote_due(s, r, rows)
    most = r.limits[worker * OF_LIMITS + LIMIT_MAX]
    while n[TAKEN] < take:
        if most and n[WINDOW_COUNT] >= most and t[NOW] < t[WINDOW_EXPIRES]:
            t[LIMITED] = t[WINDOW_EXPIRES]
            return
        if r.numbers[CONCURRENCY] and n[ACTIVE] >= r.numbers[CONCURRENCY]:
            t[DUE] = first_due(s)
            return
        job = pop_next(s)
        if job < 0:
            t[DUE] = first_due(s)
            return
        if most:
            count_start(s, rows, most, r.worker_times[worker * OF_WORKER_TIMES + LIMIT_DURATION])
        s.state[job] = IN_ACTIVE
        s.counts[job * OF_COUNTS + TIMES_STARTED] += 1
        n[ACTIVE] += 1
        emit(s, rows, ACTIVE_EVENT, job + 1, IN_WAIT)
        s.taken[n[TAKEN]] = job
        n[TAKEN] += 1


@inner
def settle(s: State, r: Rules, rows: Rows, job: int, ending: int, delay: float) -> None:
    """Apply the outcome of an attempt."""
    n, now = s.n, s.t[NOW]
    n[ACTIVE] -= 1
    s.counts[job * OF_COUNTS + MADE] += 1
    kind = row_of(rows.jobs, job).name
    if ending == OK:
        s.state[job] = IN_COMPLETED
        emit(s, rows, COMPLETED_EVENT, job + 1, IN_ACTIVE)
    elif ending == FAILED:
        s.state[job] = IN_FAILED
        emit(s, rows, FAILED_EVENT, job + 1, IN_ACTIVE)
        if s.counts[job * OF_COUNTS + MADE] >= r.kinds[kind * OF_KINDS + MOST_TRIES]:
            emit(s, rows, EXHAUSTED_EVENT, job + 1, 0)
    elif delay > 0:
        postpone(s, r, rows, job, now + delay)
    else:
        if n[DELAYED]:
            promote_due(s, r, rows)
        s.ready_at[job] = now
        enqueue(s, r, rows, job, r.kinds[kind * OF_KINDS + LIFO] != 0)
        emit(s, rows, WAITING_EVENT, job + 1, IN_ACTIVE)


@inner
def end_exchange(s: State, r: Rules, rows: Rows, worker: int, take: int, finished: bool) -> None:
    """The rest of `MemoryBroker.exchange`, and what `Exchanges` remembers of the reply."""
    n, t = s.n, s.t
    take_jobs(s, r, rows, worker, take)
    left = n[TAKEN] + n[WAIT_COUNT] + n[ACTIVE] + n[PRIORITIZED]
    if finished and not left and np.isnan(t[LIMITED]) and np.isnan(t[DUE]):
        emit(s, rows, DRAINED_EVENT, 0, 0)
    if n[WAITER_HEAD] >= 0 and n[WAIT_COUNT] + n[PRIORITIZED] > 0:
        wake(s, r)
    # what Exchanges remembers of the answer
    s.moments[worker * OF_MOMENTS + LIMITED_UNTIL] = t[LIMITED]
    s.moments[worker * OF_MOMENTS + NEXT_DUE] = t[DUE]
    s.worker[worker * OF_WORKER + EMPTY] = n[TAKEN] < take


@inner
def add_job(s: State, r: Rules, rows: Rows, load: int, kind: int, scheduled: float) -> None:
    """`MemoryBroker._add`."""
    n, now = s.n, s.t[NOW]
    job = n[JOBS]
    n[JOBS] += 1
    row = row_of(rows.jobs, job)
    row.number = job + 1
    row.name = kind
    row.load = load
    row.scheduled = scheduled
    row.added = now
    row.delay = r.kind_times[kind * OF_KIND_TIMES + DELAY]
    row.priority = r.kinds[kind * OF_KINDS + PRIORITY]
    s.ready_at[job] = now
    s.counts[job * OF_COUNTS + MADE] = s.counts[job * OF_COUNTS + TIMES_STARTED] = 0
    emit(s, rows, ADDED_EVENT, job + 1, 0)
    if r.kind_times[kind * OF_KIND_TIMES + DELAY] > 0:
        postpone(s, r, rows, job, now + r.kind_times[kind * OF_KIND_TIMES + DELAY])
        return
    enqueue(s, r, rows, job, r.kinds[kind * OF_KINDS + LIFO] != 0)
    emit(s, rows, WAITING_EVENT, job + 1, 0)
    if n[WAITER_HEAD] >= 0:
        wake(s, r)


# -- Loads: see Producer


@inner
def next_arrival(s: State, r: Rules, load: int) -> None:
    """Wait for the next time at which the load adds jobs."""
    at = s.load[load * OF_LOAD + LOAD_TIME]
    if at < r.first_time[load + 1]:
        s.load[load * OF_LOAD + LOAD_STAGE] = ARRIVE
        sleep_until(s, r.times[at], PRODUCER + KINDS * load, 0)


@inner
def step_load(s: State, r: Rules, rows: Rows, load: int) -> None:
    """The next step of a load: add jobs, and wait for the next time."""
    if s.n[CANCELLED]:
        return
    stage = s.load[load * OF_LOAD + LOAD_STAGE]
    if stage == FIRST:
        first = r.first_producer[load]
        for producer in range(first, first + r.loads[load * OF_LOADS + PRODUCERS]):
            make_ready(s, CLOSED + KINDS * producer, 0)
        next_arrival(s, r, load)
        return
    if stage == ARRIVE and r.seconds[COST] > 0:
        s.load[load * OF_LOAD + LOAD_STAGE] = ADD
        sleep(s, r.seconds[COST], PRODUCER + KINDS * load, 0)
        return
    scheduled = r.times[s.load[load * OF_LOAD + LOAD_TIME]]
    for _ in range(r.loads[load * OF_LOADS + SIZE]):
        add_job(s, r, rows, load, r.types[s.load[load * OF_LOAD + LOAD_JOB]], scheduled)
        s.load[load * OF_LOAD + LOAD_JOB] += 1
    s.t[MOVED] = s.t[NOW]
    s.load[load * OF_LOAD + LOAD_TIME] += 1
    next_arrival(s, r, load)


@inner
def pick(s: State, r: Rules, load: int) -> Any:
    """The type of the next job of a closed model."""
    most = r.numbers[MOST_MIXED]
    place = 0
    if r.loads[load * OF_LOADS + MIX_STREAM] >= 0:
        drawn = draw(s, r, r.loads[load * OF_LOADS + MIX_STREAM])
        while place + 1 < r.loads[load * OF_LOADS + MIXED] and r.mix[load * most + place] <= drawn:
            place += 1
    return r.mix_kinds[load * most + place]


@inner
def step_closed(s: State, r: Rules, rows: Rows, producer: int) -> None:
    """`Producer._loop`: the next step of one producer of a closed model."""
    if s.n[CANCELLED]:
        return
    base, times = producer * OF_CLOSED, producer * OF_CLOSED_TIMES
    load = s.closed[base + LOAD_OF]
    step = s.closed[base + NEXT_STEP]
    if step == PAUSE:
        stream = s.closed[base + THINK_STREAM]
        s.closed[base + NEXT_STEP] = NEXT
        seconds = s.closed_times[times + THINK] if stream < 0 else draw(s, r, stream)
        sleep(s, seconds, CLOSED + KINDS * producer, 0)
        return
    if step == NEXT:
        if s.t[NOW] >= s.closed_times[times + UNTIL]:
            return
        s.closed[base + NEXT_KIND] = pick(s, r, load)
        s.closed_times[times + SCHEDULED] = s.t[NOW]
        if r.seconds[COST] > 0:
            s.closed[base + NEXT_STEP] = PUT
            sleep(s, r.seconds[COST], CLOSED + KINDS * producer, 0)
            return
    s.owner[s.n[JOBS]] = producer
    s.closed[base + NEXT_STEP] = PAUSE
    add_job(s, r, rows, load, s.closed[base + NEXT_KIND], s.closed_times[times + SCHEDULED])
    s.t[MOVED] = s.t[NOW]


@njit(cache=True)
def arrivals(gaps: Array, segments: Array, start: float, c: Array, out: Array) -> Any:
    """`arrival_times` for one block of gaps; `c` is where it goes on. Returns how many times are in `out`."""
    segment, passed, needed = int(c[0]), c[1], c[2]
    used = made = 0
    if c[3] == 0:
        needed = gaps[0]
        used = 1
        c[3] = 1
    while segment < len(segments):
        begin, duration, rate, target = (
            segments[segment, 0],
            segments[segment, 1],
            segments[segment, 2],
            segments[segment, 3],
        )
        square, slope, expected = segments[segment, 4], segments[segment, 5], segments[segment, 6]
        while passed + needed <= expected:
            passed += needed
            if rate == target:
                offset = passed / rate
            elif passed == 0:
                offset = 0.0
            else:
                root = np.sqrt(max(square + slope * passed, 0.0))
                offset = min(2 * passed / (rate + root), duration)
            out[made] = start + (begin + offset)
            made += 1
            if used == len(gaps):
                c[0], c[1], c[3] = segment, passed, 0
                return made
            needed = gaps[used]
            used += 1
        needed -= expected - passed
        segment += 1
        passed = 0.0
    c[0] = segment
    return made


@inner
def room_for(s: State, r: Rules, code: int) -> Any:
    """Jobs that the next step may add."""
    if code % KINDS == PRODUCER:
        return r.loads[(code // KINDS) * OF_LOADS + SIZE]
    return 0


# -- Workers: see Worker


@inner
def vacate(s: State, r: Rules, worker: int, slot: int) -> None:
    """Push a slot into the heap of the worker's vacant ones."""
    base = r.first_slot[worker]
    place = s.worker[worker * OF_WORKER + VACANT_COUNT]
    s.worker[worker * OF_WORKER + VACANT_COUNT] = place + 1
    while place > 0:
        parent = (place - 1) >> 1
        if s.vacant[base + parent] < slot:
            break
        s.vacant[base + place] = s.vacant[base + parent]
        place = parent
    s.vacant[base + place] = slot
    if s.worker[worker * OF_WORKER + STAGE] == VACANCY:
        s.worker[worker * OF_WORKER + STAGE] = LOOK
        make_ready(s, FILL + KINDS * worker, 0)


@inner
def occupy(s: State, r: Rules, worker: int) -> Any:
    """Pop the first vacant slot."""
    base = r.first_slot[worker]
    slot = s.vacant[base]
    size = s.worker[worker * OF_WORKER + VACANT_COUNT] - 1
    s.worker[worker * OF_WORKER + VACANT_COUNT] = size
    last = s.vacant[base + size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and s.vacant[base + child + 1] < s.vacant[base + child]:
            child += 1
        if last < s.vacant[base + child]:
            break
        s.vacant[base + place] = s.vacant[base + child]
        place = child
    s.vacant[base + place] = last
    return slot


@inner
def hand_job(s: State, slot: int, job: int) -> None:
    """The slot has this job, as it is now, from its next step on."""
    s.slot[slot * OF_SLOT + SLOT_JOB] = job
    s.slot_times[slot * OF_SLOT_TIMES + SLOT_READY] = s.ready_at[job]
    s.slot_times[slot * OF_SLOT_TIMES + SLOT_STARTED] = s.t[NOW]
    s.slot[slot * OF_SLOT + SLOT_ATTEMPT] = s.counts[job * OF_COUNTS + TIMES_STARTED]


@inner
def fill_take(s: State, r: Rules, rows: Rows, worker: int) -> None:
    """`Worker._take`."""
    take = s.worker[worker * OF_WORKER + VACANT_COUNT]
    if take == 0:
        return
    end_exchange(s, r, rows, worker, take, False)
    for i in range(s.n[TAKEN]):
        slot = occupy(s, r, worker)
        hand_job(s, slot, s.taken[i])
        s.slot[slot * OF_SLOT + SLOT_STAGE] = BEGIN
        make_ready(s, SLOT + KINDS * slot, s.slot[slot * OF_SLOT + SLOT_SEQ])


@inner
def hold(s: State, worker: int) -> None:
    """Wait until the limiter's window closes, in steps of a length that a worker has."""
    now, until = s.t[NOW], s.moments[worker * OF_MOMENTS + LIMITED_UNTIL]
    if until - now > LONGEST_HOLD:
        until = now + max(min(until - now, LONGEST_HOLD), SHORTEST_HOLD)
    if until <= now:
        s.n[BAIL] = SHORT_WAIT
        return
    s.worker[worker * OF_WORKER + STAGE] = TAKE
    call_at(s, until, HOLD_OVER + KINDS * worker, 0)


@inner
def wait_for_work(s: State, r: Rules, worker: int) -> bool:
    """`Broker.wait`. False if there is no need to wait."""
    now, until = s.t[NOW], s.moments[worker * OF_MOMENTS + NEXT_DUE]
    if has_work(s, r) or until <= now:
        return False
    enlist(s, worker)
    s.worker[worker * OF_WORKER + TIMER_SET] = 0
    s.worker[worker * OF_WORKER + STAGE] = WAITED
    if not np.isnan(until):
        when = now + (until - now)
        if when <= now:
            s.n[BAIL] = SHORT_WAIT
            return True
        s.worker[worker * OF_WORKER + TIMER_SET] = 1
        call_at(s, when, WAIT_OVER + KINDS * worker, s.worker[worker * OF_WORKER + WAIT_SEQ])
    return True


@inner
def end_wait(s: State, worker: int) -> None:
    """The worker does not wait any more: withdraw its timer, and itself from the list."""
    if s.worker[worker * OF_WORKER + TIMER_SET]:
        s.worker[worker * OF_WORKER + TIMER_SET] = 0
        s.n[STALE] += 1
    s.worker[worker * OF_WORKER + WAIT_SEQ] += 1
    if s.worker[worker * OF_WORKER + WAITER_LISTED]:
        unlist(s, worker)


@inner
def pick_up(s: State, r: Rules, worker: int) -> bool:
    """What the backend takes to hand out work. True if it takes any time."""
    if r.seconds[PICKUP] > 0:
        s.worker[worker * OF_WORKER + STAGE] = TAKE
        sleep(s, r.seconds[PICKUP], FILL + KINDS * worker, 0)
        return True
    return False


@inner
def step_fill(s: State, r: Rules, rows: Rows, worker: int) -> None:
    """`Worker._fill_slots`, until it has to wait."""
    stage = s.worker[worker * OF_WORKER + STAGE]
    if stage == WAITED:
        end_wait(s, worker)
        if pick_up(s, r, worker):
            return
        stage = TAKE
    while True:
        if stage == TAKE:
            fill_take(s, r, rows, worker)
            if s.worker[worker * OF_WORKER + VACANT_COUNT] == 0:
                s.worker[worker * OF_WORKER + STAGE] = VACANCY
                return
        stage = TAKE
        if s.moments[worker * OF_MOMENTS + LIMITED_UNTIL] > s.t[NOW]:
            hold(s, worker)
            return
        if s.worker[worker * OF_WORKER + EMPTY]:
            waits = wait_for_work(s, r, worker) or pick_up(s, r, worker)
            if waits:
                return


@inner
def is_poisoned(r: Rules, kind: int, job: int) -> bool:
    """Whether a job fails at every attempt."""
    if r.kinds[kind * OF_KINDS + POISON_ERROR] < 0:
        return False
    number = (r.poison[kind * OF_POISON + POISON_SALT] + np.uint64(job + 1)) * np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    number = number ^ (number >> np.uint64(31))
    return number <= r.poison[kind * OF_POISON + POISON_BOUND]


@inner
def failure(s: State, r: Rules, kind: int, job: int) -> Any:
    """What an attempt fails with; 0: nothing."""
    if is_poisoned(r, kind, job):
        return r.kinds[kind * OF_KINDS + POISON_ERROR]
    if r.kinds[kind * OF_KINDS + FAILURE_STREAM] < 0:
        return 0
    drawn = draw(s, r, r.kinds[kind * OF_KINDS + FAILURE_STREAM])
    attempt = min(s.counts[job * OF_COUNTS + MADE], r.kinds[kind * OF_KINDS + BOUNDED] - 1)
    for error in range(r.numbers[ERRORS]):
        if drawn < r.bounds[(kind * r.numbers[MOST_BOUNDED] + attempt) * r.numbers[ERRORS] + error]:
            return error
    return 0


@inner
def begin_attempt(s: State, r: Rules, rows: Rows, slot: int) -> None:
    """Run the handler until it sleeps."""
    job = s.slot[slot * OF_SLOT + SLOT_JOB]
    kind = row_of(rows.jobs, job).name
    s.slot[slot * OF_SLOT + SLOT_RUNNING] = 1
    s.slot[slot * OF_SLOT + SLOT_SEQ] += 1
    s.slot[slot * OF_SLOT + SLOT_TIMED] = 0
    seq = s.slot[slot * OF_SLOT + SLOT_SEQ]
    if r.kind_times[kind * OF_KIND_TIMES + TIME_LIMIT] > 0:
        when = s.t[NOW] + r.kind_times[kind * OF_KIND_TIMES + TIME_LIMIT]
        if when <= s.t[NOW]:
            s.n[BAIL] = NO_TIMEOUT
            return
        s.slot[slot * OF_SLOT + SLOT_TIMED] = 1
        call_at(s, when, TIMEOUT + KINDS * slot, seq)
    seconds = (
        r.kind_times[kind * OF_KIND_TIMES + SERVICE]
        if r.kinds[kind * OF_KINDS + SERVICE_STREAM] < 0
        else draw(s, r, r.kinds[kind * OF_KINDS + SERVICE_STREAM])
    )
    s.slot[slot * OF_SLOT + SLOT_STAGE] = SERVED
    s.slot[slot * OF_SLOT + SLOT_NAPPING] = sleep(s, seconds, SLOT + KINDS * slot, seq)


@inner
def time_out(s: State, slot: int) -> None:
    """`asyncio.timeout` cancels the handler: its sleep ends now, and its next step is the error."""
    s.slot[slot * OF_SLOT + SLOT_TIMED] = 0
    s.slot[slot * OF_SLOT + SLOT_STAGE] = TIMED_OUT
    if s.slot[slot * OF_SLOT + SLOT_NAPPING]:
        s.slot[slot * OF_SLOT + SLOT_NAPPING] = 0
        # what is left in the heap is stale
        s.slot[slot * OF_SLOT + SLOT_SEQ] += 1
        s.n[STALE] += 1
        make_ready(s, SLOT + KINDS * slot, s.slot[slot * OF_SLOT + SLOT_SEQ])


@inner
def backoff(s: State, r: Rules, kind: int, error: int, made: int, worker: int) -> Any:
    """`Backoff.seconds`."""
    base = r.backoff[(kind * r.numbers[ERRORS] + error) * r.numbers[MOST_MADE] + made]
    jitter = r.jitter[kind * r.numbers[ERRORS] + error]
    if jitter == 0.0:
        return base
    drawn = draw(s, r, r.limits[worker * OF_LIMITS + JITTER_STREAM])
    return np.floor((base * (1 - jitter) + drawn * base * jitter) * 1000) / 1000


@inner
def record_attempt(s: State, r: Rules, rows: Rows, slot: int, ending: int, error: int, delay: float) -> None:
    """Record how an attempt ended."""
    worker = r.worker_of[slot]
    row = row_of(rows.attempts, s.n[ATTEMPTS])
    row.number = s.slot[slot * OF_SLOT + SLOT_JOB] + 1
    row.attempt = s.slot[slot * OF_SLOT + SLOT_ATTEMPT]
    row.worker = worker
    row.slot = slot - r.first_slot[worker]
    row.ready = s.slot_times[slot * OF_SLOT_TIMES + SLOT_READY]
    row.started = s.slot_times[slot * OF_SLOT_TIMES + SLOT_STARTED]
    row.ended = np.nan if ending == UNFINISHED else s.t[NOW]
    row.ending = ending
    row.error = error
    row.message = error
    row.backoff = delay
    s.n[ATTEMPTS] += 1


@inner
def end_attempt(s: State, r: Rules, rows: Rows, slot: int, error: int) -> bool:
    """Hand in the outcome and take the next job. True if there is one."""
    n, t = s.n, s.t
    worker, job = r.worker_of[slot], s.slot[slot * OF_SLOT + SLOT_JOB]
    kind = row_of(rows.jobs, job).name
    if s.slot[slot * OF_SLOT + SLOT_TIMED]:
        s.slot[slot * OF_SLOT + SLOT_TIMED] = 0
        n[STALE] += 1
    s.slot[slot * OF_SLOT + SLOT_SEQ] += 1
    ending, delay = OK, np.nan
    if error:
        made = s.counts[job * OF_COUNTS + MADE] + 1
        if made >= MOST_ATTEMPTS:
            n[BAIL] = TOO_MANY_ATTEMPTS
            return False
        ending = FAILED
        if made < r.tries[kind * r.numbers[ERRORS] + error]:
            ending = RETRIED
            delay = backoff(s, r, kind, error, made, worker)
    settle(s, r, rows, job, ending, delay)
    end_exchange(s, r, rows, worker, 1, ending != RETRIED)
    record_attempt(s, r, rows, slot, ending, error, delay)
    t[PROGRESSED] = t[MOVED] = t[NOW]
    if ending != RETRIED:
        n[ENDINGS] += 1
        if n[JOB_ROOM] > r.numbers[KNOWN_JOBS] and s.owner[job] >= 0:
            make_ready(s, CLOSED + KINDS * s.owner[job], 0)
    if n[TAKEN]:
        hand_job(s, slot, s.taken[0])
        return True
    s.slot[slot * OF_SLOT + SLOT_RUNNING] = 0
    vacate(s, r, worker, slot)
    return False


@inner
def step_slot(s: State, r: Rules, rows: Rows, slot: int) -> None:
    """`Worker._work`, until the handler sleeps or the slot has no job."""
    stage = s.slot[slot * OF_SLOT + SLOT_STAGE]
    if stage == BEGIN:
        begin_attempt(s, r, rows, slot)
        return
    if stage == SERVED:
        kind = row_of(rows.jobs, s.slot[slot * OF_SLOT + SLOT_JOB]).name
        error = failure(s, r, kind, s.slot[slot * OF_SLOT + SLOT_JOB])
        if r.seconds[SLOW] > 0:
            s.slot[slot * OF_SLOT + SLOT_ERROR] = error
            s.slot[slot * OF_SLOT + SLOT_STAGE] = SLOWED
            sleep(s, r.seconds[SLOW], SLOT + KINDS * slot, s.slot[slot * OF_SLOT + SLOT_SEQ])
            return
    elif stage == SLOWED:
        error = s.slot[slot * OF_SLOT + SLOT_ERROR]
    else:
        error = r.numbers[ERROR_TIMEOUT]
    if end_attempt(s, r, rows, slot, error):
        begin_attempt(s, r, rows, slot)


# -- The run: see Engine


@inner
def is_idle(s: State) -> bool:
    """`MemoryBroker.idle`."""
    return s.n[WAIT_COUNT] + s.n[ACTIVE] + s.n[PRIORITIZED] + s.n[DELAYED] == 0


@inner
def start_draining(s: State, r: Rules) -> None:
    """The load is over. A time limit of the drain counts from now."""
    t = s.t
    s.n[CANCELLED] = s.n[DRAINS] = 1
    t[DRAIN_BEGAN] = t[NOW]
    t[DEADLINE] = t[NOW] + r.seconds[DRAIN_TIME]
    set_deadline(s)


@inner
def set_deadline(s: State) -> None:
    """Set the timer of a drain that is limited in time."""
    t = s.t
    if t[DEADLINE] < np.inf:
        when = t[NOW] + (t[DEADLINE] - t[NOW])
        if when <= t[NOW]:
            s.n[BAIL] = SHORT_WAIT
            return
        call_at(s, when, DRAIN_OVER, 0)


@inner
def end_drain(s: State, r: Rules) -> None:
    """The time for the drain is up."""
    n, t = s.n, s.t
    if t[NOW] < t[DEADLINE]:
        set_deadline(s)
        return
    if t[NOW] - t[PROGRESSED] >= (t[NOW] - t[DRAIN_BEGAN]) / 2:
        sleeping = 0
        for slot in range(r.numbers[SLOTS]):
            sleeping += s.slot[slot * OF_SLOT + SLOT_RUNNING]
        limited = n[WINDOW_COUNT] >= r.numbers[QUEUE_LIMIT] and t[NOW] < t[WINDOW_EXPIRES]
        if not limited and (sleeping < n[ACTIVE] or n[ACTIVE] + n[DELAYED] == 0):
            n[BAIL] = STANDSTILL
    n[FINISHED] = 1


@inner
def step(s: State, r: Rules, rows: Rows, code: int, seq: int) -> None:
    """Run what is ready."""
    kind, which = code % KINDS, code // KINDS
    if kind == SLOT:
        step_slot(s, r, rows, which)
    elif kind == PRODUCER:
        step_load(s, r, rows, which)
    elif kind == CLOSED:
        step_closed(s, r, rows, which)
    elif kind == FILL:
        step_fill(s, r, rows, which)
    elif kind == WAIT_OVER:
        if seq == s.worker[which * OF_WORKER + WAIT_SEQ]:
            s.worker[which * OF_WORKER + TIMER_SET] = 0
            if s.worker[which * OF_WORKER + WAITER_DONE] == 0:
                s.worker[which * OF_WORKER + WAITER_DONE] = 1
                make_ready(s, FILL + KINDS * which, 0)
    elif kind == HOLD_OVER:
        make_ready(s, FILL + KINDS * which, 0)
    elif kind == TIMEOUT:
        if seq == s.slot[which * OF_SLOT + SLOT_SEQ]:
            time_out(s, which)
    elif kind == START:
        make_ready(s, STARTED + KINDS * which, 0)
    elif kind == STARTED:
        s.moments[which * OF_MOMENTS + PRESENT] = s.t[NOW]
        s.worker[which * OF_WORKER + STAGE] = LOOK
        make_ready(s, FILL + KINDS * which, 0)
    elif kind == END:
        make_ready(s, ENDED, 0)
    elif kind == DRAIN_OVER:
        make_ready(s, DRAINING, 0)
    elif kind == DRAINING:
        end_drain(s, r)
    elif r.numbers[DRAIN]:
        start_draining(s, r)
    else:
        s.n[FINISHED] = 1


@inner
def begin_by_pointers(s: State, r: Rules, rows: Rows) -> None:
    """Second 0: add the backlog, start the workers and the loads."""
    for load in range(r.numbers[LOADS]):
        for _ in range(r.loads[load * OF_LOADS + BACKLOG]):
            add_job(s, r, rows, load, r.types[s.load[load * OF_LOAD + LOAD_JOB]], 0.0)
            s.load[load * OF_LOAD + LOAD_JOB] += 1
    call_at(s, r.seconds[DURATION], END, 0)
    for worker in range(r.numbers[WORKERS]):
        if r.worker_times[worker * OF_WORKER_TIMES + WORKER_BEGINS] == 0:
            make_ready(s, STARTED + KINDS * worker, 0)
        else:
            # its task sleeps from its first step on, which comes before those of the loads
            make_ready(s, START + KINDS * (r.numbers[WORKERS] + worker), 0)
    for load in range(r.numbers[LOADS]):
        if r.loads[load * OF_LOADS + BACKLOG] == 0:
            make_ready(s, PRODUCER + KINDS * load, 1)


@inner
def step_first(s: State, r: Rules, code: int) -> bool:
    """The first step of a worker that starts later, or of a load. False if it is another step."""
    kind, which = code % KINDS, code // KINDS
    if kind == START and which >= r.numbers[WORKERS]:
        worker = which - r.numbers[WORKERS]
        call_at(s, r.worker_times[worker * OF_WORKER_TIMES + WORKER_BEGINS], START + KINDS * worker, 0)
        return True
    if (
        kind == PRODUCER
        and r.load_start[which] > 0
        and s.load[which * OF_LOAD + LOAD_STAGE] == FIRST
        and s.t[NOW] < r.load_start[which]
    ):
        call_at(s, r.load_start[which], PRODUCER + KINDS * which, 0)
        return True
    return False


@inner
def has_room(s: State, r: Rules, jobs: int, kind: int) -> bool:
    """Whether the next step has room for its rows. There is room for the known jobs from the beginning, and for some
    of closed models beside them."""
    n = s.n
    if kind == CLOSED and n[JOBS] + r.numbers[KNOWN_JOBS] + 1 > n[JOB_ROOM]:
        return False
    return (
        n[EVENTS] + ROOM + 4 * jobs + 4 * r.numbers[MOST_SLOTS] <= n[EVENT_ROOM]
        and n[ATTEMPTS] + 4 + r.numbers[SLOTS] <= n[ATTEMPT_ROOM]
        and n[WINDOWS] + 4 + r.numbers[MOST_SLOTS] <= n[WINDOW_ROOM]
    )


@inner
def play_by_pointers(s: State, r: Rules, rows: Rows, steps: int) -> Any:
    """Play so many steps at most. Returns why it stopped; call it again to go on."""
    n, t = s.n, s.t
    for _ in range(steps):
        if n[BAIL]:
            return GAVE_UP
        if n[FINISHED] or (n[DRAINS] and is_idle(s)):
            return DONE
        if n[REFILL]:
            return MORE_DRAWS
        if n[READY_COUNT] == 0:
            when = s.heap_time[0]
            if when > t[NOW]:
                n[INSTANT] = 0
            t[NOW] = when
            while n[HEAP] and s.heap_time[0] == when:
                pop_timer(s)
            if n[DRAINS] and t[DEADLINE] == np.inf and when - t[MOVED] > LONGEST_REST:
                n[BAIL] = LONG_DRAIN
            continue
        head = n[READY_HEAD]
        code, seq = s.ready[head * OF_READY + READY_CODE], s.ready[head * OF_READY + READY_SEQ]
        if not has_room(s, r, room_for(s, r, code), code % KINDS):
            return MORE_ROOM
        n[READY_HEAD] = (head + 1) & s.n[RING]
        n[READY_COUNT] -= 1
        n[INSTANT] += 1
        if n[INSTANT] > MOST_STEPS:
            n[BAIL] = TOO_MANY_STEPS
        if not step_first(s, r, code):
            step(s, r, rows, code, seq)
    return PAUSED


# -- After the run


@inner
def note_unfinished_by_pointers(s: State, r: Rules, rows: Rows) -> None:
    """Record the attempts that are under way, worker by worker and slot by slot."""
    for slot in range(r.numbers[SLOTS]):
        if s.slot[slot * OF_SLOT + SLOT_RUNNING]:
            record_attempt(s, r, rows, slot, UNFINISHED, 0, np.nan)


@inner
def waiting_by_pointers(s: State) -> Array:
    """The numbers of the jobs that wait, in order."""
    found = np.empty(s.n[WAIT_COUNT], dtype=np.int64)
    job = s.n[WAIT_HEAD]
    for i in range(len(found)):
        found[i] = job + 1
        job = s.links[job * OF_LINKS + FOLLOWING]
    return found


@njit(cache=True)
def waiting(state: State) -> Array:
    """The numbers of the jobs that wait, in order."""
    return waiting_by_pointers(state_pointers(state))


@njit(cache=True)
def first_mentions(column: Array, count: int) -> Array:
    """The different numbers below `count` in a column, in the order in which they come first; -1 fills up."""
    found = np.full(count, -1, dtype=np.int64)
    seen = np.zeros(count, dtype=np.uint8)
    known = 0
    for number in column:
        if not seen[number]:
            seen[number] = 1
            found[known] = number
            known += 1
            if known == count:
                break
    return found


# -- What Python calls


@njit(cache=True)
def begin(state: State, rules: Rules, rows: Rows) -> None:
    """Second 0: add the backlog, start the workers and the loads."""
    begin_by_pointers(state_pointers(state), rule_pointers(rules), row_pointers(rows))


@njit(cache=True)
def play(state: State, rules: Rules, rows: Rows, steps: int) -> int:
    """Play so many steps at most. Returns why it stopped; call it again to go on."""
    return play_by_pointers(state_pointers(state), rule_pointers(rules), row_pointers(rows), steps)


@njit(cache=True)
def note_unfinished(state: State, rules: Rules, rows: Rows) -> None:
    """Record the attempts that are under way, worker by worker and slot by slot."""
    note_unfinished_by_pointers(state_pointers(state), rule_pointers(rules), row_pointers(rows))
