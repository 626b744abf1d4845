/** A request that does not fit its message; answered with 400. */
export class Misfit extends Error {
  constructor(path: string, expected: string) {
    super(path === '' ? `${expected} was expected.` : `'${path}': ${expected} was expected.`)
  }
}

/** A message as protobufjs encodes it. Without a prototype, so that no field can be mistaken for anything else. */
export type Message = Record<string, unknown>

export interface Reading {
  /** Whether fields that the message does not have are passed over. */
  readonly ignoreUnknown: boolean
}
