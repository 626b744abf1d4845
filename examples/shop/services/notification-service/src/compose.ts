import type { Received, SchemasOf } from '@msx/messaging'
import type { ShopEvents } from '@shop/contracts'

/** What there is to say, whatever the channel. */
export interface Notice {
  readonly subject: string
  readonly text: string
}

/** What of an event a notice is made from. */
export type OrderEvent = Told<Received<SchemasOf<ShopEvents>, 'order.*'>>

type Told<M> = M extends { readonly type: unknown; readonly data: unknown } ? Pick<M, 'type' | 'data'> : never

/** What a customer is told about an order. */
export function compose(event: OrderEvent): Notice {
  const order = `order ${event.data.orderId}`

  switch (event.type) {
    case 'order.created':
      return {
        subject: 'We have your order',
        text: `Thank you. We have ${order} over ${money(event.data)} and are working on it.`,
      }
    case 'order.confirmed':
      return {
        subject: 'Your order is on its way',
        text: `Good news: ${order} over ${money(event.data)} is paid and being packed.`,
      }
    case 'order.cancelled':
      return {
        subject: 'Your order was cancelled',
        text: `We are sorry: ${order} was cancelled (${event.data.reason}). You have not been charged.`,
      }
  }
}

/** `64900 EUR` is kept, `€649.00` is said. */
function money({ total, currency }: { readonly total: number; readonly currency: string }): string {
  return new Intl.NumberFormat('en', { style: 'currency', currency }).format(total / 100)
}
