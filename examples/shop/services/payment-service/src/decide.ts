import type { PaymentStatus } from '@shop/contracts'

/** What a command does to a transaction: nothing, one step with the money that moves, or a refusal. */
export type Decision =
  | { readonly do: 'keep' }
  | { readonly do: 'move'; readonly to: PaymentStatus; readonly entry: 'capture' | 'void' | 'refund' }
  | { readonly do: 'refuse'; readonly because: string }

export function decideCapture(status: PaymentStatus): Decision {
  switch (status) {
    case 'AUTHORISED':
      return { do: 'move', to: 'CAPTURED', entry: 'capture' }
    case 'CAPTURED':
      return { do: 'keep' }
    case 'DECLINED':
    case 'VOIDED':
    case 'REFUNDED':
      return { do: 'refuse', because: `the payment is ${status}, there is no money to take` }
  }
}

export function decideVoid(status: PaymentStatus): Decision {
  switch (status) {
    case 'AUTHORISED':
      return { do: 'move', to: 'VOIDED', entry: 'void' }
    case 'DECLINED':
    case 'VOIDED':
      return { do: 'keep' }
    case 'CAPTURED':
      return { do: 'refuse', because: 'the money has been taken; what is captured can only be refunded' }
    case 'REFUNDED':
      return { do: 'refuse', because: 'the money has been taken, and refunded' }
  }
}

export function decideRefund(status: PaymentStatus): Decision {
  switch (status) {
    case 'CAPTURED':
      return { do: 'move', to: 'REFUNDED', entry: 'refund' }
    case 'REFUNDED':
      return { do: 'keep' }
    case 'AUTHORISED':
    case 'DECLINED':
    case 'VOIDED':
      return { do: 'refuse', because: `the payment is ${status}, no money was taken` }
  }
}
