import type { Prepared } from './encode.js'

/** How the relay of an outbox hands a bus what was encoded when it was written. No part of the public interface. */
export const FORWARD: unique symbol = Symbol.for('msx.messaging.forward')

/** Publishes it in the name of the bus. Resolves when the broker has it. */
export type Forward = (prepared: Prepared) => Promise<void>
