import type { Dispatcher } from 'undici'

/** As many requests are under way at a time. */
export const CALLERS = 64

/**
 * So many requests, each caller one after the other, read to their ends. Answers with how long each took, in ms; throws when
 * one was not answered with 200.
 */
export async function requests(dispatcher: Dispatcher, origin: string, count: number): Promise<readonly number[]> {
  const latencies: number[] = []
  let begun = 0

  const caller = async (): Promise<void> => {
    while (begun < count) {
      begun++
      const startedAt = performance.now()
      const { statusCode, body } = await dispatcher.request({ origin, path: '/api/users/1', method: 'GET' })
      await body.dump()
      if (statusCode !== 200) throw new Error(`${origin} answered ${statusCode}`)
      latencies.push(performance.now() - startedAt)
    }
  }
  await Promise.all(Array.from({ length: Math.min(CALLERS, count) }, caller))
  return latencies
}
