// The public surface of each package as a file that is checked in (packages/<name>/api-report.md), so that a change of
// it is a diff which a reviewer sees. Without arguments: compares; with --update: writes. Reads the built declarations.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { publicPackages } from './packages.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const printer = ts.createPrinter({ removeComments: true })

/** The report of one package: each line of `exports`, each name in it with its declaration, sorted. */
export function reportOf(folder, manifest) {
  const entries = Object.entries(manifest.exports).filter(([, target]) => typeof target === 'object')
  const files = entries.map(([, target]) => join(root, folder, target.types))
  const program = ts.createProgram(files, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    strict: true,
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  })
  const checker = program.getTypeChecker()

  const sections = entries.map(([subpath], index) => {
    const source = program.getSourceFile(files[index])
    if (source === undefined) throw new Error(`${files[index]} is not there; build first`)
    const module = checker.getSymbolAtLocation(source)
    const names = module === undefined ? [] : checker.getExportsOfModule(module)
    const declarations = names
      .map((name) => describe(name, checker))
      .sort((a, b) => (a < b ? -1 : 1))
      .join('\n\n')
    return `## ${join(manifest.name, subpath)}\n\n\`\`\`ts\n${declarations}\n\`\`\`\n`
  })

  return `# Public API of ${manifest.name}\n\nWritten by \`pnpm api:update\`; checked by \`pnpm check:packages\`.\n\n${sections.join('\n')}`
}

function describe(exported, checker) {
  const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
  const texts = (symbol.declarations ?? []).map((declaration) => {
    const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
    return printer
      .printNode(ts.EmitHint.Unspecified, statement, statement.getSourceFile())
      .replace(/^(export |declare )+/, '')
  })
  // Declared elsewhere (a type of another package that is passed on): its name is what we promise.
  const ours = (symbol.declarations ?? []).every(
    (declaration) => !declaration.getSourceFile().fileName.includes('/node_modules/'),
  )
  const text = ours ? texts.join('\n') : `// from another package`
  return `// ${exported.name}\n${text}`
}

/** The packages whose report is not what the built declarations say. */
export function outdated({ update = false } = {}) {
  return publicPackages().filter(({ folder, manifest }) => {
    const path = join(root, folder, 'api-report.md')
    const report = reportOf(folder, manifest)
    if (existsSync(path) && readFileSync(path, 'utf8') === report) return false
    if (update) writeFileSync(path, report)
    return !update
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const changed = outdated({ update: process.argv.includes('--update') })
  for (const { manifest } of changed) console.error(`${manifest.name}: its public API is not what api-report.md says`)
  if (changed.length > 0) {
    console.error('If the change is meant, run `pnpm api:update` and commit the reports with it.')
    process.exitCode = 1
  }
}
