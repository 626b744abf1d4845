import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { documentedCodes, runFirstExample } from '../../../tooling/readme.js'
import { DiscoveryClosedError, NoEndpointsError } from './errors.js'

const readme = new URL('../README.md', import.meta.url)

describe('README', () => {
  it('has a first example that prints what it says', async () => {
    expect(await runFirstExample(readme)).toBe('200 user-service says hello\n'.repeat(3))
  })

  it('lists the codes of the errors there are', async () => {
    const codes = [new DiscoveryClosedError(), new NoEndpointsError('x', 'y')].map(({ code }) => code)

    expect(documentedCodes(await readFile(readme, 'utf8'))).toEqual(codes.sort())
  })
})
