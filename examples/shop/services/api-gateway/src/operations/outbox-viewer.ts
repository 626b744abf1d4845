import { html } from 'hono/html'

/** What a customer was told, as notification-service lists it. */
export interface Told {
  readonly orderId: string
  readonly type: string
  readonly channel: string
  /** Empty where the channel has none, as with a text message. */
  readonly subject: string | null
  readonly text: string
  readonly at: string
}

/** A page with no script in it; what is written in a notification is text, whatever it looks like. */
export const viewerPolicy =
  "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

/** The outbox viewer: what a customer was told, newest first, by which channel. Without `items` nobody was looked up yet. */
export function outboxViewer(userId: string, items?: readonly Told[]) {
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Outbox</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem }
  h1 { font-size: 1.4rem; margin: 0 0 1rem }
  form { display: flex; flex-wrap: wrap; gap: .5rem; margin-bottom: 1.5rem }
  label { flex: 1 1 100% }
  input { flex: 1 1 16rem; min-width: 0; font: inherit; padding: .4rem .6rem }
  button { font: inherit; padding: .4rem 1rem }
  ol { list-style: none; padding: 0; margin: 0; display: grid; gap: 1rem }
  li { border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .5rem; padding: .75rem 1rem; overflow-wrap: anywhere }
  h2 { font-size: 1rem; margin: .25rem 0 0 }
  li p { margin: .25rem 0; white-space: pre-line }
  small { display: flex; flex-wrap: wrap; gap: .25rem 1rem; opacity: .75 }
  b { font-weight: 600; text-transform: uppercase; letter-spacing: .04em }
</style>
<h1>What a customer was told</h1>
<form>
  <label for="userId">The customer's id</label>
  <input id="userId" name="userId" value="${userId}" required>
  <button>Show</button>
</form>
${items === undefined ? '' : items.length === 0 ? html`<p>Nothing so far.</p>` : html`<ol>${items.map(entry)}</ol>`}
</html>
`
}

function entry({ orderId, type, channel, subject, text, at }: Told) {
  return html`<li>
  <small><b>${channel}</b> <time datetime="${at}">${at}</time> <span>${type}</span> <span>order ${orderId}</span></small>
  ${subject === null || subject === '' ? '' : html`<h2>${subject}</h2>`}
  <p>${text}</p>
</li>`
}
