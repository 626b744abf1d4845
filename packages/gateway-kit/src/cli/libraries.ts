// Optional peers: loaded when the file asks for what they do.

/** What a package exports, or nothing where it is not installed. */
export async function ifInstalled<T>(name: string, load: () => Promise<T>): Promise<T | undefined> {
  try {
    return await load()
  } catch (error) {
    const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown }
    if (code === 'ERR_MODULE_NOT_FOUND' && String(message).includes(`'${name}'`)) return undefined

    throw error
  }
}

/** @throws {TypeError} when it is not installed. */
export async function importPrometheus(): Promise<typeof import('prom-client')> {
  return required('prom-client', async () => (await import('prom-client')).default as never)
}

/** @throws {TypeError} when the API of OpenTelemetry is not installed. */
export async function importTracing(): Promise<
  typeof import('../opentelemetry.js') & typeof import('../opentelemetry/sdk.js')
> {
  return required('@opentelemetry/api', async () => ({
    ...(await import('../opentelemetry.js')),
    ...(await import('../opentelemetry/sdk.js')),
  }))
}

async function required<T>(name: string, load: () => Promise<T>): Promise<T> {
  const library = await ifInstalled(name, load)
  if (library === undefined) {
    throw new TypeError(`needs the package ${name}, which is not installed: npm install ${name}`)
  }

  return library
}
