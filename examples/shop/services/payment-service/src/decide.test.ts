import type { PaymentStatus } from '@shop/contracts'
import { describe, expect, test } from 'vitest'
import { decideCapture, decideVoid } from './decide.js'

const capture = { do: 'move', to: 'CAPTURED', entry: 'capture' }
const giveBack = { do: 'move', to: 'VOIDED', entry: 'void' }
const keep = { do: 'keep' }
const refuse = { do: 'refuse', because: expect.any(String) }

describe('what a command does to a transaction', () => {
  test.each<[PaymentStatus, object, object]>([
    ['AUTHORISED', capture, giveBack],
    ['CAPTURED', keep, refuse],
    ['DECLINED', refuse, keep],
    ['VOIDED', refuse, keep],
  ])('%s', (status, onCapture, onVoid) => {
    expect(decideCapture(status)).toEqual(onCapture)
    expect(decideVoid(status)).toEqual(onVoid)
  })
})
