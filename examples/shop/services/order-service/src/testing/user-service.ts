import { createApp, createLog, type Listening, listen, notFound } from '@shop/platform'

/** As much of user-service as an order meets, in memory. */
export interface FakeUsers {
  readonly url: string
  readonly ids: Set<string>
  goAway(): Promise<void>
  comeBack(): Promise<void>
}

export async function fakeUsers(): Promise<FakeUsers> {
  const ids = new Set<string>()
  const app = createApp({ name: 'user-service', log: createLog('user-service', 'silent'), ready: () => true })
  app.get('/internal/users/:id', (context) => {
    const id = context.req.param('id')
    if (!ids.has(id)) throw notFound('such account')
    return context.json({ id, name: 'Ada' })
  })

  const { url, port, ...first } = await listen(app)
  let listening: Pick<Listening, 'close'> | undefined = first
  return {
    url,
    ids,
    async goAway() {
      await listening?.close(0)
      listening = undefined
    },
    async comeBack() {
      listening ??= await listen(app, { port })
    },
  }
}
