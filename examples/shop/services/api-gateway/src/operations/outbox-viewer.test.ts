import { expect, test } from 'vitest'
import { outboxViewer } from './outbox-viewer.js'

const told = {
  orderId: 'order-1',
  type: 'order.confirmed',
  channel: 'email',
  subject: 'Your order',
  text: 'It is on its way.',
  at: '2026-01-02T03:04:05.000Z',
}

test('shows by which channel a customer was told what, and when', async () => {
  const page = String(
    await outboxViewer('ada', [told, { ...told, channel: 'sms', subject: null, text: 'On its way.' }]),
  )

  expect(page).toContain('value="ada"')
  expect(page.match(/<li>/g)).toHaveLength(2)
  for (const piece of Object.values(told)) expect(page).toContain(piece)
  expect(page.match(/<h2>/g)).toHaveLength(1)
})

test('takes nothing for markup that somebody wrote', async () => {
  const page = String(await outboxViewer('"><script>a()</script>', [{ ...told, text: '<img src=x onerror=b()>' }]))

  expect(page).not.toMatch(/<script|<img/)
  expect(page).toContain('&lt;img src=x onerror=b()&gt;')
})

test('says so when there is nothing, and nothing when nobody was looked up', async () => {
  expect(String(await outboxViewer('ada', []))).toContain('Nothing so far.')
  expect(String(await outboxViewer(''))).not.toMatch(/Nothing so far|<ol>/)
})
