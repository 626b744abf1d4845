import { afterAll, describe, test } from 'vitest'
import { transportContract } from '../testing.js'
import { testBroker } from './fixture.js'

const broker = await testBroker()

afterAll(() => broker?.close())

describe.skipIf(broker === undefined).concurrent('rabbitmq keeps the contract of transports', () => {
  for (const { name, run } of transportContract(() => (broker as NonNullable<typeof broker>).transport())) {
    test(name, run, 20_000)
  }
})
