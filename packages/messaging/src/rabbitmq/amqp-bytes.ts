/** Room at first. */
const SMALLEST = 1_024

/** A short text has one byte for its length. */
const LONGEST_SHORT = 255

/** As amqplib's. The broker would take a table as long as a frame. */
const LARGEST_TABLE = 65_536

const DIGITS_OF_32_BITS = 4_294_967_295

/** For a table and all that travels in front of it. */
const MOST = LARGEST_TABLE + 4_096

const TAG = {
  array: 0x41,
  double: 0x64,
  boolean: 0x74,
  bytes: 0x78,
  decimal: 0x44,
  int8: 0x62,
  int16: 0x73,
  int32: 0x49,
  int64: 0x6c,
  nothing: 0x56,
  table: 0x46,
  text: 0x53,
  timestamp: 0x54,
} as const

/**
 * Bytes in the forms of AMQP 0-9-1, written one after the other. Tables have the types that RabbitMQ reads, which are not
 * quite those of the specification (https://www.rabbitmq.com/amqp-0-9-1-errata), and each value the one that amqplib
 * gives it. What amqplib has no form for is a double, or a table.
 */
export class AmqpBytes {
  #bytes: Buffer = Buffer.allocUnsafeSlow(SMALLEST)
  #length = 0

  /** How many were written. */
  get length(): number {
    return this.#length
  }

  clear(): void {
    this.#length = 0
  }

  /** A copy of all that was written. */
  copy(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length))
  }

  octet(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  short(value: number): void {
    this.#reserve(2)
    this.#length = this.#bytes.writeUInt16BE(value, this.#length)
  }

  long(value: number): void {
    this.#reserve(4)
    this.#length = this.#bytes.writeUInt32BE(value, this.#length)
  }

  /** An integer that a double holds exactly. */
  longlong(value: number): void {
    this.long(Math.floor(value / 2 ** 32))
    this.long(value % 2 ** 32)
  }

  /** In the place of four bytes written before. */
  longAt(at: number, value: number): void {
    this.#bytes.writeUInt32BE(value, at)
  }

  /** `what` is for the message. Returns where the text begins. */
  shortText(text: string, what: string): number {
    const size = Buffer.byteLength(text)
    if (size > LONGEST_SHORT) {
      throw new RangeError(`${what} has ${size} bytes, AMQP has room for ${LONGEST_SHORT}: '${text.slice(0, 40)}…'`)
    }
    this.octet(size)

    return this.#text(text, size)
  }

  /**
   * Those of its entries that are not undefined and that `isLeftOut` does not know. `onEntry` is told where the value of
   * each is, its type and its length left out.
   */
  table(
    entries: Readonly<Record<string, unknown>>,
    isLeftOut: (name: string) => boolean,
    onEntry?: (name: string, value: unknown, at: number) => void,
  ): void {
    const start = this.#length
    this.long(0)
    for (const name in entries) {
      const value = entries[name]
      if (value === undefined || isLeftOut(name)) continue

      this.shortText(name, 'the name of a header')
      const at = this.#value(value)
      onEntry?.(name, value, at)
    }
    const size = this.#length - start
    if (size > LARGEST_TABLE) throw noRoom()
    this.longAt(start, size - 4)
  }

  /** Returns where it begins, without what comes in front of it. */
  #value(value: unknown): number {
    switch (typeof value) {
      case 'string': {
        const size = Buffer.byteLength(value)
        this.octet(TAG.text)
        this.long(size)
        return this.#text(value, size)
      }
      case 'number':
        return this.#number(value)
      case 'boolean':
        this.octet(TAG.boolean)
        this.octet(value ? 1 : 0)
        return this.#length - 1
      case 'object':
        return this.#object(value)
      default:
        throw new TypeError(`a header cannot be a ${typeof value}`)
    }
  }

  #number(value: number): number {
    if (!Number.isInteger(value) || value < -(2 ** 63) || value >= 2 ** 63) {
      this.octet(TAG.double)
      this.#reserve(8)
      this.#length = this.#bytes.writeDoubleBE(value, this.#length)
      return this.#length - 8
    }
    if (value >= -0x80 && value < 0x80) {
      this.octet(TAG.int8)
      this.octet(value & 0xff)
      return this.#length - 1
    }
    if (value >= -0x8000 && value < 0x8000) {
      this.octet(TAG.int16)
      this.short(value & 0xffff)
      return this.#length - 2
    }
    if (value >= -0x80000000 && value < 0x80000000) {
      this.octet(TAG.int32)
      this.long(value >>> 0)
      return this.#length - 4
    }
    this.octet(TAG.int64)
    this.#reserve(8)
    this.#length = this.#bytes.writeBigInt64BE(BigInt(value), this.#length)
    return this.#length - 8
  }

  #object(value: object | null): number {
    if (value === null) {
      this.octet(TAG.nothing)
      return this.#length
    }
    if (Array.isArray(value)) {
      this.octet(TAG.array)
      const start = this.#length
      this.long(0)
      for (const item of value) this.#value(item)
      this.longAt(start, this.#length - start - 4)
      return start + 4
    }
    if (value instanceof Uint8Array) {
      this.octet(TAG.bytes)
      this.long(value.length)
      this.#reserve(value.length)
      this.#bytes.set(value, this.#length)
      this.#length += value.length
      return this.#length - value.length
    }
    return this.#special(value as { '!'?: unknown; value?: unknown }) ?? this.#nested(value)
  }

  /** What amqplib reads as no value of JavaScript: `{ '!': type, value }`. A table may have such names too. */
  #special({ '!': type, value }: { '!'?: unknown; value?: unknown }): number | undefined {
    if (type === 'timestamp' && Number.isSafeInteger(value) && (value as number) >= 0) {
      this.octet(TAG.timestamp)
      this.longlong(value as number)
      return this.#length - 8
    }
    if (type === 'decimal' && isDecimal(value)) {
      this.octet(TAG.decimal)
      this.octet(value.places)
      this.long(value.digits)
      return this.#length - 5
    }
    return undefined
  }

  #nested(value: object): number {
    this.octet(TAG.table)
    const at = this.#length + 4
    this.table(value as Record<string, unknown>, () => false)

    return at
  }

  #text(text: string, size: number): number {
    const at = this.#length
    this.#reserve(size)
    this.#bytes.write(text, at)
    this.#length += size

    return at
  }

  #reserve(size: number): void {
    const needed = this.#length + size
    if (needed <= this.#bytes.length) return
    if (needed > MOST) throw noRoom()

    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    larger.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = larger
  }
}

function noRoom(): RangeError {
  return new RangeError(`its headers have more than the ${LARGEST_TABLE} bytes that there is room for`)
}

function isDecimal(value: unknown): value is { readonly places: number; readonly digits: number } {
  if (typeof value !== 'object' || value === null) return false

  const { places, digits } = value as { places?: unknown; digits?: unknown }
  return isCount(places, LONGEST_SHORT) && isCount(digits, DIGITS_OF_32_BITS)
}

function isCount(value: unknown, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most
}
