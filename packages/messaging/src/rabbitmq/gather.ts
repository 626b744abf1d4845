import type { Writable } from 'node:stream'

/**
 * Makes everything that is written to a stream in one turn leave it together. amqplib writes frame by frame, and on a
 * socket that takes all it is given each frame is a system call, the greatest part of what a message costs.
 */
export function gatherWrites(stream: Writable): void {
  const write = stream.write.bind(stream) as (...terms: unknown[]) => boolean
  let isGathering = false
  const flush = (): void => {
    isGathering = false
    stream.uncork()
  }
  stream.write = (...terms: unknown[]): boolean => {
    if (!isGathering) {
      isGathering = true
      stream.cork()
      process.nextTick(flush)
    }
    return write(...terms)
  }
}
