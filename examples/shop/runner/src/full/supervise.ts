import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { afterCrash, type Crashes } from './restarts.js'

/** What a process says of itself once it works. */
export interface Announcement {
  readonly url: string
  readonly http: string
}

export interface Crash {
  readonly pid: number | undefined
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Milliseconds until it is started again. */
  readonly delay: number
}

export interface SuperviseOptions {
  /** Starts the process with a channel and with pipes for its output. */
  spawn(): ChildProcess
  onLine(line: string): void
  onAnnouncement(announcement: Announcement): void
  onCrash(crash: Crash): void
}

export interface Supervised {
  readonly pid: number | undefined
  /** What the present process announced; undefined while there is none, or not yet. */
  readonly announcement: Announcement | undefined
  /** Rejects when the very first process ends before it has announced itself: then no other will fare better. */
  readonly started: Promise<Announcement>
  /** SIGTERM, and SIGKILL after `deadline` ms or as soon as `hurry` aborts. Resolves when the process is gone. */
  stop(deadline: number, hurry: AbortSignal): Promise<void>
}

/** Keeps one process running: when it ends and nobody asked it to, another is started, later after each crash. */
export function supervise(options: SuperviseOptions): Supervised {
  let child: ChildProcess | undefined
  let gone: Promise<unknown> = Promise.resolve()
  let announcement: Announcement | undefined
  let announcedOnce = false
  let crashes: Crashes = { count: 0 }
  let restart: NodeJS.Timeout | undefined
  let stopping = false

  let succeed: (announcement: Announcement) => void
  let fail: (error: Error) => void
  const started = new Promise<Announcement>((resolve, reject) => {
    succeed = resolve
    fail = reject
  })
  started.catch(() => undefined)

  function start(): void {
    const began = performance.now()
    const current = options.spawn()
    child = current
    gone = once(current, 'exit').catch(() => undefined)
    for (const stream of [current.stdout, current.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', options.onLine)
    }
    current.on('message', (message) => {
      announcement = message as Announcement // its own program's words
      announcedOnce = true
      succeed(announcement)
      options.onAnnouncement(announcement)
    })

    // A process that could not even be spawned has an error and no exit.
    let over = false
    const end = (code: number | null, signal: NodeJS.Signals | null) => {
      if (over) return
      over = true
      child = undefined
      announcement = undefined
      if (stopping) return
      if (!announcedOnce) {
        fail(new Error(`it ended with ${signal ?? `code ${code}`} before it was ready`))
        return
      }

      const next = afterCrash(crashes, performance.now() - began)
      crashes = next.crashes
      restart = setTimeout(start, next.delay)
      options.onCrash({ pid: current.pid, code, signal, delay: next.delay })
    }
    current.on('exit', end)
    current.on('error', (error) => {
      options.onLine(String(error))
      if (current.pid === undefined) end(null, null)
    })
  }

  start()

  return {
    started,
    get pid() {
      return child?.pid
    },
    get announcement() {
      return announcement
    },

    async stop(deadline, hurry) {
      stopping = true
      clearTimeout(restart)
      fail(new Error('it was stopped before it was ready'))
      const current = child
      if (current === undefined) return

      const kill = () => void current.kill('SIGKILL')
      const late = setTimeout(kill, deadline)
      hurry.addEventListener('abort', kill, { once: true })
      try {
        current.kill(hurry.aborted ? 'SIGKILL' : 'SIGTERM')
        await gone
      } finally {
        clearTimeout(late)
        hurry.removeEventListener('abort', kill)
      }
    },
  }
}
