/**
 * What Consul's index says, by the rules of "Blocking Queries" in its documentation
 * (https://developer.hashicorp.com/consul/api-docs/features/blocking).
 */

/** The index of an answer: a whole number above 0. Undefined for anything else: asking with it would never block. */
export function readIndex(header: string | undefined): bigint | undefined {
  if (header === undefined || !/^\d+$/.test(header)) return undefined

  const index = BigInt(header)
  return index > 0n ? index : undefined
}

/**
 * The index to ask with next. One that went back comes from a Consul that started over: waiting for it to reach the old
 * number again would miss every change until then, so the next question is to be answered at once.
 */
export function nextIndex(asked: bigint | undefined, answered: bigint): bigint | undefined {
  return asked !== undefined && answered < asked ? undefined : answered
}
