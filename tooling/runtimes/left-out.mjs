// What of the two packages' suites does not run on a runtime, and why. Everything else does, on each of them. Printed
// with every run; an entry that matches nothing fails it, so that the list cannot outlive its reasons.

/**
 * @typedef {object} LeftOut
 * @property {string} file            Below `packages/`; a glob that begins with `*` is for both packages.
 * @property {string} [test]          The full name of one test; without it the whole file is left out.
 * @property {string} reason
 */

const undici = '*/src/undici/**'
const interceptor = 'circuit-breaker/src/undici/interceptor.test.ts'
const timeout = 'retry/src/timeout.test.ts'
const networkError = 'retry/src/internal/network-error.test.ts'
const errors = (name) => `${name}/src/errors.test.ts`
const graceOn =
  'timeout: with real timers does not time out what arrived while the event loop was blocked (nodeshift/opossum#580)'
const graceOff = 'timeout: with real timers times it out with the grace turned off'
const readme = 'starts the README’s example as a process'
const memory = '*/src/{memory,footprint}.test.ts'
const ofV8 = 'measures the heap as Node lets it: v8, --expose-gc, process.memoryUsage'
const ownFetch = "Deno's own fetch takes no dispatcher of undici"
const noNode = 'uses something of Node that a page has not'
const oneCopy = 'a page keeps one copy of a module, and cannot be told to load another'

/** @type {Record<string, readonly LeftOut[]>} By runtime; those without an entry leave out nothing. */
export const leftOut = {
  bun: [
    { file: memory, reason: ofV8 },
    {
      file: 'retry/src/opentelemetry.test.ts',
      test: 'finds the span of each of many calls, whatever timer or socket they are woken by',
      reason: 'composes interceptors of undici, as below',
    },
    { file: undici, reason: 'Bun puts a fetch of its own in the place of undici, without interceptors' },
    {
      file: timeout,
      test: graceOff,
      reason: 'Bun reads from sockets before it looks at timers: nothing is late there',
    },
    {
      file: timeout,
      test: 'timeout: with real timers sets a timer for the first call and one for all that follow it',
      reason: 'Bun tells neither async_hooks nor getActiveResourcesInfo of its timers',
    },
    {
      file: timeout,
      test: 'timeout: with real timers lets the timer be gone that fires when nobody calls any more',
      reason: 'Bun tells neither async_hooks nor getActiveResourcesInfo of its timers',
    },
    {
      file: timeout,
      test: 'timeout: with real timers wakes the timer that rests for a call that waits, and ends it not early',
      reason: 'Bun tells neither async_hooks nor getActiveResourcesInfo of its timers',
    },
  ],
  deno: [
    { file: memory, reason: ofV8 },
    {
      file: timeout,
      test: graceOn,
      reason: 'Deno runs setImmediate before it reads from sockets, so `loopGrace` finds nothing there',
    },
    {
      file: interceptor,
      test: "no permit is lost when a caller of Node's own fetch aborts, before the response or within it",
      reason: ownFetch,
    },
    {
      file: 'retry/src/undici/retry-interceptor.test.ts',
      test: 'retryInterceptor works for a pool, and under fetch of undici and of Node',
      reason: ownFetch,
    },
    {
      file: 'retry/src/undici/retry-interceptor.test.ts',
      test: "retryInterceptor: waits end at once when a caller of Node's own fetch aborts, after a response and before any connection",
      reason: ownFetch,
    },
    {
      file: 'retry/src/undici/timeout-interceptor.test.ts',
      test: "timeoutInterceptor fails Node's own fetch that is not answered in time, and aborts it",
      reason: ownFetch,
    },
  ],
  chromium: [
    { file: memory, reason: ofV8 },
    { file: '*/src/grpc{.test.ts,/**}', reason: 'calls a gRPC server, which a page cannot' },
    { file: undici, reason: noNode },
    { file: '*/src/prometheus{.test.ts,/**}', reason: 'prom-client is a library of Node' },
    {
      file: '*/src/opentelemetry{.test.ts,/**}',
      reason: 'the tests keep their context in an AsyncLocalStorage of Node',
    },
    { file: 'circuit-breaker/src/readme.test.ts', reason: readme },
    { file: 'retry/src/readme.test.ts', reason: readme },
    { file: 'retry/src/resilient-fetch.socket.test.ts', reason: noNode },
    { file: 'retry/src/resilient-fetch.test.ts', reason: 'msw/node patches the modules of Node' },
    { file: errors('retry'), test: 'knows the errors of another copy of the package', reason: oneCopy },
    {
      file: errors('circuit-breaker'),
      test: 'is recognised when another copy of the package made it',
      reason: oneCopy,
    },
    {
      file: 'retry/src/retry.test.ts',
      test: 'retry lets the event loop turn in an endless loop of immediate failures, so that it can be aborted',
      reason: 'a page has no setImmediate, with which the test aborts',
    },
    { file: timeout, test: 'timeout drops what comes late, a rejection too', reason: noNode },
    { file: timeout, test: graceOn, reason: noNode },
    { file: timeout, test: graceOff, reason: noNode },
    { file: timeout, test: 'timeout: with real timers keeps nothing alive once it has settled', reason: noNode },
    {
      file: timeout,
      test: 'timeout: with real timers keeps nothing alive either when it is used again and again',
      reason: noNode,
    },
    {
      file: timeout,
      test: 'timeout: with real timers sets a timer for the first call and one for all that follow it',
      reason: noNode,
    },
    {
      file: timeout,
      test: 'timeout: with real timers lets the timer be gone that fires when nobody calls any more',
      reason: noNode,
    },
    {
      file: timeout,
      test: 'timeout: with real timers wakes the timer that rests for a call that waits, and ends it not early',
      reason: noNode,
    },
    {
      file: 'retry/src/retry.test.ts',
      test: 'a failure that nobody awaits is an unhandled rejection, once, after its attempts',
      reason: noNode,
    },
    {
      file: 'retry/src/retry.test.ts',
      test: 'a failure that nobody awaits is an unhandled rejection, once, without a retry',
      reason: noNode,
    },
    {
      file: 'retry/src/retry.test.ts',
      test: 'a failure that nobody awaits is an unhandled rejection, once, when it judges values too',
      reason: noNode,
    },
    { file: networkError, test: 'knows what this Node says of a refused connection', reason: noNode },
    {
      file: networkError,
      test: 'knows what this Node says of a URL that is none',
      reason: 'in a page every string is a URL, relative to its own',
    },
    {
      file: 'circuit-breaker/src/circuit-breaker.test.ts',
      test: 'what a caller or an operation may do wrong cannot make an unhandled rejection of an error whose code cannot be read',
      reason: noNode,
    },
    {
      file: 'circuit-breaker/src/circuit-breaker.test.ts',
      test: 'what a caller or an operation may do wrong is told of by the runtime when nobody waits for a call that fails',
      reason: noNode,
    },
    {
      file: 'circuit-breaker/src/bulkhead.test.ts',
      test: 'a bulkhead calls a waiting operation in the async context of its own caller',
      reason: noNode,
    },
    {
      file: 'circuit-breaker/src/bulkhead.test.ts',
      test: "the caller's abort is listened for once, however many wait with the same signal",
      reason: noNode,
    },
  ],
}

/** What the vitest of a runtime needs to know of it. */
export function leftOutOf(runtime) {
  const entries = leftOut[runtime] ?? []
  return {
    files: entries.filter(({ test }) => test === undefined).map(({ file }) => file),
    tests: entries.filter(({ test }) => test !== undefined),
  }
}
