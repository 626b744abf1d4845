import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { documentedCodes, runExample, runFirstExample } from '../../../tooling/readme.js'
import { DiscoveryClosedError, NoEndpointsError, RegistryError } from './errors.js'

const readme = new URL('../README.md', import.meta.url)

describe('README', () => {
  it('has a first example whose requests go to the instances in turn', async () => {
    const ports = [...(await runFirstExample(readme)).matchAll(/:(300[12])$/gm)].map((match) => match[1])

    expect(ports).toHaveLength(4)
    expect(ports[0]).not.toBe(ports[1])
    expect(ports.slice(2)).toEqual(ports.slice(0, 2))
  })

  it('has an example with fetch that prints what it says', async () => {
    expect(await runExample(readme, 1)).toBe('200 user-service says hello\n'.repeat(3))
  })

  it('lists the codes of the errors there are', async () => {
    const codes = [new DiscoveryClosedError(), new NoEndpointsError('x', 'y'), new RegistryError('z')].map(
      ({ code }) => code,
    )

    expect(documentedCodes(await readFile(readme, 'utf8'))).toEqual([...codes, 'MSX_PEER_MISSING'].sort())
  })
})
