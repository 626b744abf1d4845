import { collectDefaultMetrics, Registry } from 'prom-client'

let shared: Registry | undefined

/**
 * What this process is like: memory, event loop, garbage collection. One for all services in it, since what measures a
 * process can never be taken away again: an observer for each service would hold on to each one that was ever started.
 */
function processMetrics(): Registry {
  if (shared === undefined) {
    shared = new Registry()
    collectDefaultMetrics({ register: shared })
  }
  return shared
}

/** The answer to a scrape: the process and the service in it. */
export async function exposition(registry: Registry): Promise<{ readonly text: string; readonly contentType: string }> {
  const [process, service] = await Promise.all([processMetrics().metrics(), registry.metrics()])
  return { text: process + service, contentType: registry.contentType }
}
