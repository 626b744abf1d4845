import type { PaymentStatus } from '@shop/contracts'
import { describe, expect, test } from 'vitest'
import { decideCapture, decideRefund, decideVoid } from './decide.js'

const capture = { do: 'move', to: 'CAPTURED', entry: 'capture' }
const giveBack = { do: 'move', to: 'VOIDED', entry: 'void' }
const refund = { do: 'move', to: 'REFUNDED', entry: 'refund' }
const keep = { do: 'keep' }
const refuse = { do: 'refuse', because: expect.any(String) }

describe('what a command does to a transaction', () => {
  test.each<[PaymentStatus, object, object, object]>([
    ['AUTHORISED', capture, giveBack, refuse],
    ['CAPTURED', keep, refuse, refund],
    ['DECLINED', refuse, keep, refuse],
    ['VOIDED', refuse, keep, refuse],
    ['REFUNDED', refuse, refuse, keep],
  ])('%s', (status, onCapture, onVoid, onRefund) => {
    expect(decideRefund(status)).toEqual(onRefund)
    expect(decideCapture(status)).toEqual(onCapture)
    expect(decideVoid(status)).toEqual(onVoid)
  })
})
