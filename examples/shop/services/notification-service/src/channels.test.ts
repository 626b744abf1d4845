import { expect, test } from 'vitest'
import { channels } from './channels.js'

const notice = { subject: 'Your order was cancelled', text: `We are sorry: ${'very '.repeat(60)}sorry.` }

test.each([
  ['email', notice.text.length],
  ['sms', 160],
  ['push', 100],
])('%s says as much as fits', (name, most) => {
  const letter = channels.find((channel) => channel.name === name)?.write(notice)

  expect(letter).toMatchObject({ channel: name, subject: notice.subject })
  expect(letter?.text.length).toBeLessThanOrEqual(most)
  expect(letter?.text.length).toBeGreaterThan(most - 10)
})

test('what is short is left as it is', () => {
  for (const channel of channels) expect(channel.write({ subject: 'Hello', text: 'there' }).text).toMatch(/there$/)
})
