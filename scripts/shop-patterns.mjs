// docs/shop/patterns.md names each pattern with the line of code that shows it, and a piece of that line:
//
//   [checkout.ts:59](../../examples/shop/…/checkout.ts#L59) `saga<CheckoutInput>(`
//
// `node scripts/shop-patterns.mjs` moves the numbers to where the pieces are now; a test only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const folder = fileURLToPath(new URL('../docs/shop/', import.meta.url))
export const page = join(folder, 'patterns.md')

const reference = /\[[^\]]+:\d+\]\(([^)#]+)#L\d+\) `([^`]+)`/g

/**
 * The page with each number as it should be.
 *
 * @param {string} text
 */
export function withLines(text) {
  return text.replace(reference, (_, path, piece) => {
    const lines = readFileSync(join(folder, path), 'utf8').split('\n')
    const found = lines.flatMap((line, index) => (line.includes(piece) ? [index + 1] : []))
    if (found.length === 0) throw new Error(`${path} has no line with \`${piece}\``)
    return `[${basename(path)}:${found[0]}](${path}#L${found[0]}) \`${piece}\``
  })
}

/** @param {string} text */
export function countReferences(text) {
  return [...text.matchAll(reference)].length
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeFileSync(page, withLines(readFileSync(page, 'utf8')))
}
