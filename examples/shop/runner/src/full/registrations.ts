import { StartError } from '../start-error.js'
import { httpNameOf } from './names.js'

/**
 * Takes an instance out of Consul on behalf of a process that was killed. Callers would find it unhealthy within a
 * second; so they do not find it at all.
 */
export async function deregister(consul: string, id: string): Promise<void> {
  for (const one of [id, httpNameOf(id)]) {
    const response = await fetch(new URL(`/v1/agent/service/deregister/${encodeURIComponent(one)}`, consul), {
      method: 'PUT',
      signal: AbortSignal.timeout(2_000),
    })
    // An instance that is not there is what was asked for, whatever the status.
    await response.body?.cancel()
  }
}

/** Where the agent answers DNS. */
export async function dnsServerOf(consul: string): Promise<string> {
  const response = await fetch(new URL('/v1/agent/self', consul), { signal: AbortSignal.timeout(2_000) })
  const { DebugConfig } = (await response.json()) as { DebugConfig?: { DNSAddrs?: readonly string[] } }
  const address = DebugConfig?.DNSAddrs?.find((one) => one.startsWith('udp://'))
  if (address === undefined) {
    throw new StartError(`Consul at ${consul} answers no DNS, which DISCOVERY=dns asks; DNS_SERVERS may name who does`)
  }
  return address.slice('udp://'.length).replace(/^(0\.0\.0\.0|\[::\])/, '127.0.0.1')
}
