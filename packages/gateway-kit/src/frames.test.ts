import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameReader, goingAway } from './frames.js'

interface Frame {
  readonly bytes: Buffer
  /** Whether a message may end here. */
  readonly final: boolean
}

function write(opcode: number, length: number, final: boolean, masked: boolean): Frame {
  const head =
    length <= 125
      ? Buffer.from([length])
      : length <= 0xffff
        ? Buffer.from([126, length >> 8, length & 0xff])
        : Buffer.from([
            127,
            0,
            0,
            0,
            0,
            (length >> 24) & 0xff,
            (length >> 16) & 0xff,
            (length >> 8) & 0xff,
            length & 0xff,
          ])
  head[0]! |= masked ? 0x80 : 0
  const first = Buffer.from([(final ? 0x80 : 0) | opcode])
  const payload = Buffer.alloc(length, 0x88)

  return { bytes: Buffer.concat([first, head, Buffer.alloc(masked ? 4 : 0, 0x82), payload]), final }
}

const length = fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(125, 126, 127, 300, 65_535, 65_536, 70_000))
const control = fc.record({ opcode: fc.constantFrom(0x9, 0xa), length: fc.integer({ min: 0, max: 125 }) })

/** A message in pieces, with control frames between them. */
const message = (masked: boolean) =>
  fc
    .tuple(
      fc.constantFrom(0x1, 0x2, 0x42),
      fc.array(fc.tuple(length, fc.array(control, { maxLength: 2 })), { minLength: 1, maxLength: 3 }),
    )
    .map(([opcode, pieces]) =>
      pieces.flatMap(([size, controls], index) => [
        write(index === 0 ? opcode : 0, size, index === pieces.length - 1, masked),
        ...(index === pieces.length - 1 ? [] : controls.map((one) => write(one.opcode, one.length, true, masked))),
      ]),
    )

describe.each([true, false])('frames, masked: %s', (masked) => {
  test('every boundary is found, however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(message(masked), { minLength: 1, maxLength: 3 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 3_000 })),
        (messages, sizes) => {
          const ends = new Set<number>()
          const messageEnds = new Set<number>()
          let at = 0
          for (const frames of messages) {
            for (const { bytes } of frames) {
              at += bytes.length
              ends.add(at)
            }
            messageEnds.add(at)
          }
          const bytes = Buffer.concat(messages.flat().map((frame) => frame.bytes))
          const reader = new FrameReader(masked)

          for (let from = 0; from < bytes.length; ) {
            const piece = bytes.subarray(from, from + sizes.next().value)
            expect(reader.read(piece, false)).toBe(piece.length)
            from += piece.length
            expect(reader.betweenFrames).toBe(ends.has(from))
            expect(reader.betweenMessages).toBe(messageEnds.has(from))
          }

          const stopping = new FrameReader(masked)
          let from = 0
          for (const end of messageEnds) {
            expect(stopping.read(bytes.subarray(from), true)).toBe(end - from)
            from = end
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  test.each([
    ['reserved bits', [0x91, 0]],
    ['a reserved opcode', [0x83, 0]],
    ['a reserved control opcode', [0x8b, 0]],
    ['a control frame in pieces', [0x09, 0]],
    ['a control frame that is too long', [0x89, 126]],
    ['a piece of nothing', [0x80, 0]],
    ['a message within a message', [0x01, 0, 0x81, 0]],
    ['a length beyond all numbers', [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]],
  ])('%s: there is no boundary any more', (_what, bytes) => {
    const reader = new FrameReader(masked)
    const input = [...bytes]
    // The second byte of every frame has the mask's bit, and a mask follows the length.
    for (const index of bytes.length === 4 ? [3, 1] : [1]) if (masked) input[index]! |= 0x80
    if (masked && bytes.length === 4) input.splice(2, 0, 0, 0, 0, 0)

    reader.read(Buffer.from([...input, 0, 0, 0, 0]), false)
    reader.read(Buffer.from([0x81, masked ? 0x80 : 0, 0, 0, 0, 0]), false)

    expect(reader.betweenFrames).toBe(false)
  })

  test('frames of the other side are none', () => {
    const reader = new FrameReader(masked)

    reader.read(write(1, 5, true, !masked).bytes, false)

    expect(reader.betweenFrames).toBe(false)
  })

  test('our own Close frame is read as one', () => {
    const reader = new FrameReader(masked)

    reader.read(goingAway(masked), false)

    expect(reader).toMatchObject({ closed: true, betweenMessages: true })
  })
})
