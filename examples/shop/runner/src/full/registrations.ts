/**
 * Takes an instance out of Consul on behalf of a process that was killed. Callers would find it unhealthy within a
 * second; so they do not find it at all.
 */
export async function deregister(consul: string, id: string): Promise<void> {
  const response = await fetch(new URL(`/v1/agent/service/deregister/${encodeURIComponent(id)}`, consul), {
    method: 'PUT',
    signal: AbortSignal.timeout(2_000),
  })
  // An instance that is not there is what was asked for, whatever the status.
  await response.body?.cancel()
}
