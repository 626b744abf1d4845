import { type Change, changeBetween, type Picture } from './picture.js'

/** Listeners to the picture, and what they missed. */
export interface Stream {
  /** A body of server-sent events: what was missed since `lastId`, or else a snapshot, and then each change. */
  open(lastId?: string): Promise<ReadableStream<Uint8Array>>
  close(): void
}

export interface StreamOptions {
  take(): Promise<Picture>
  /** Milliseconds between two pictures. Default 500. */
  readonly interval?: number | undefined
  /** Milliseconds between two signs of life. Default 15 000. */
  readonly heartbeat?: number | undefined
}

interface Event {
  readonly id: string
  readonly text: string
}

/** How many changes can be caught up with. */
const remembered = 200

/** Looks while somebody listens, and tells all of them what has changed. Ids of another life of this process are unknown. */
export function createStream({ take, interval = 500, heartbeat = 15_000 }: StreamOptions): Stream {
  const life = Date.now().toString(36)
  const encoder = new TextEncoder()
  const listeners = new Set<ReadableStreamDefaultController<Uint8Array>>()
  const events: Event[] = []
  let picture: Picture | undefined
  let count = 0
  let timer: NodeJS.Timeout | undefined
  let beat: NodeJS.Timeout | undefined
  let looking: Promise<Picture> | undefined

  const currentId = () => `${life}-${count}`
  const formatted = (id: string, name: string, data: unknown) =>
    `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`

  function look(): Promise<Picture> {
    looking ??= update().finally(() => {
      looking = undefined
    })
    return looking
  }

  async function update(): Promise<Picture> {
    const now = await take()
    const change = picture && changeBetween(picture, now)
    picture = now
    if (change !== undefined) tell(change)
    return now
  }

  function tell(change: Change): void {
    count += 1
    const event = { id: currentId(), text: formatted(currentId(), 'change', change) }
    events.push(event)
    if (events.length > remembered) events.shift()
    for (const listener of listeners) send(listener, event.text)
  }

  function send(listener: ReadableStreamDefaultController<Uint8Array>, text: string): void {
    // Who reads slower than changes come begins anew with a snapshot, by its own reconnecting.
    if ((listener.desiredSize ?? 0) < 0) drop(listener)
    else listener.enqueue(encoder.encode(text))
  }

  function drop(listener: ReadableStreamDefaultController<Uint8Array>): void {
    if (!listeners.delete(listener)) return
    listener.close()
    rest()
  }

  function watch(): void {
    timer ??= setTimeout(tick, interval)
    beat ??= setInterval(() => {
      for (const listener of listeners) send(listener, ': still here\n\n')
    }, heartbeat)
  }

  function tick(): void {
    look()
      .catch(() => undefined)
      .finally(() => {
        timer = listeners.size > 0 ? setTimeout(tick, interval) : undefined
      })
  }

  function rest(): void {
    if (listeners.size > 0) return
    clearTimeout(timer)
    clearInterval(beat)
    timer = undefined
    beat = undefined
  }

  return {
    async open(lastId) {
      const snapshot = await look()
      const missed = events.findIndex(({ id }) => id === lastId)
      const first =
        missed === -1 && lastId !== currentId()
          ? formatted(currentId(), 'snapshot', snapshot)
          : events
              .slice(missed + 1)
              .map(({ text }) => text)
              .join('')
      let own: ReadableStreamDefaultController<Uint8Array>

      return new ReadableStream<Uint8Array>(
        {
          start(controller) {
            own = controller
            listeners.add(controller)
            controller.enqueue(encoder.encode(`retry: 1000\n\n${first}`))
            watch()
          },
          cancel() {
            listeners.delete(own)
            rest()
          },
        },
        new ByteLengthQueuingStrategy({ highWaterMark: 1024 * 1024 }),
      )
    },

    close() {
      for (const listener of [...listeners]) drop(listener)
      rest()
    },
  }
}
