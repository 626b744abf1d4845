import { HEADER, readText } from './internal/envelope.js'
import { fnv1a } from './internal/fnv.js'
import type { WireHeaders } from './transport.js'

/**
 * Keys are spread over this many slots, and slots over the partitions of a queue. A message carries its slot, so that a
 * broker needs to know nothing of hashing: it only looks at a header. More partitions than slots would stay empty.
 */
export const SLOTS = 32

/** The slot of a key, as it travels. */
export function slotOf(key: string): string {
  return String(fnv1a(key) % SLOTS)
}

/** The queue of one partition, counted from 0. */
export function partitionQueue(queue: string, partition: number): string {
  return `${queue}.${partition}`
}

/** Whether `name` is what a partition of the queue is called. */
export function isPartitionOf(queue: string, name: string): boolean {
  return name.startsWith(`${queue}.`) && /^\d\d?$/.test(name.slice(queue.length + 1))
}

/** Which partition a message belongs to. What has no key has no order to keep, and belongs to the first. */
export function partitionOf(headers: WireHeaders, partitions: number): number {
  const slot = Number(readText(headers, HEADER.slot) ?? 0)

  return Number.isSafeInteger(slot) && slot >= 0 ? slot % partitions : 0
}
