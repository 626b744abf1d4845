import { paymentMethods } from '@shop/contracts'

export type PaymentMethod = (typeof paymentMethods)[number]

interface Card {
  readonly outcome: 'AUTHORISED' | 'DECLINED'
  /** Whether the network says so; one that does not leaves its caller in doubt. */
  readonly answers: boolean
}

/** The make-believe card network: what becomes of an authorisation, by the name of the card. */
export const cards: Readonly<Record<PaymentMethod, Card>> = {
  'card-ok': { outcome: 'AUTHORISED', answers: true },
  'card-declined': { outcome: 'DECLINED', answers: true },
  'card-timeout-after-charge': { outcome: 'AUTHORISED', answers: false },
}

export function isPaymentMethod(name: string): name is PaymentMethod {
  return (paymentMethods as readonly string[]).includes(name)
}
