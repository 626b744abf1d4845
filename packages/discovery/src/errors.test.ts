import { describe, expect, it, vi } from 'vitest'
import {
  DiscoveryClosedError,
  isDiscoveryClosedError,
  isNoEndpointsError,
  isRegistryError,
  NoEndpointsError,
  RegistryError,
} from './errors.js'

describe('errors', () => {
  it('say what happened, to what', () => {
    const cause = new Error('registry down')
    const error = new NoEndpointsError('orders', 'registry down', { cause })

    expect(error).toMatchObject({ name: 'NoEndpointsError', code: 'MSX_NO_ENDPOINTS', service: 'orders', cause })
    expect(String(error)).toBe('NoEndpointsError: No endpoint for service "orders": registry down')
  })

  it('say what a registry refused with, if it did', () => {
    expect(new RegistryError('refused', { status: 403 })).toMatchObject({ code: 'MSX_REGISTRY', status: 403 })
    expect(new RegistryError('no answer')).not.toHaveProperty('status')
  })

  it('are recognised across copies of the package', async () => {
    vi.resetModules()
    const copy = await import('./errors.js')

    expect(copy.NoEndpointsError).not.toBe(NoEndpointsError)
    expect(isNoEndpointsError(new copy.NoEndpointsError('orders', 'none'))).toBe(true)
    expect(isDiscoveryClosedError(new copy.DiscoveryClosedError())).toBe(true)
    expect(isRegistryError(new copy.RegistryError('refused', { status: 403 }))).toBe(true)
  })

  it.each([undefined, null, 'MSX_NO_ENDPOINTS', new Error('x'), new DiscoveryClosedError()])('are not %o', (value) => {
    expect(isNoEndpointsError(value)).toBe(false)
    expect(isRegistryError(value)).toBe(false)
  })
})
