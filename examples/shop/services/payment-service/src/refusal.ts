import { status } from '@grpc/grpc-js'

type Code = Exclude<keyof typeof status, number>

/** An answer that is not a payment: a gRPC status and what to tell the caller. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: number
  readonly details: string

  constructor(code: Code, details: string) {
    super(details)
    this.code = status[code]
    this.details = details
  }
}
