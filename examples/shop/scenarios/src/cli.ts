// `pnpm --filter shop scenario <name>`: runs a scenario, on a shop of its own unless SHOP_URL names one, and says what
// happened. Ends with 1 when something was otherwise than expected.
import { asTable, runScenario, type Scenario, scenarios } from './index.js'
import { ownShop } from './own-shop.js'

const name = process.argv[2]
const chosen = name === 'all' ? scenarios : scenarios.filter((scenario) => scenario.name === name)
if (chosen.length === 0) {
  if (name !== undefined) console.error(`there is no scenario '${name}'\n`)
  console.log(`usage: pnpm --filter shop scenario <name>, or all of them: scenario all\n\n${contents(scenarios)}`)
  process.exit(name === undefined ? 0 : 1)
}

const { SHOP_URL: url, OPS_TOKEN: token } = process.env
if (url !== undefined && (!URL.canParse(url) || !token)) {
  console.error(
    URL.canParse(url)
      ? 'OPS_TOKEN is not set; it must be that of the shop at SHOP_URL'
      : `SHOP_URL is '${url}'; it must be an address such as http://127.0.0.1:8080`,
  )
  process.exit(1)
}

const shop = url && token ? { url: url.replace(/\/$/, ''), token, stop: async () => {} } : await ownShop()
try {
  for (const scenario of chosen) {
    const report = await runScenario(scenario, shop)
    console.log(`${asTable(report)}\n`)
    if (!report.holds) process.exitCode = 1
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  await shop.stop()
}

function contents(all: readonly Scenario[]): string {
  const column = Math.max(...all.map((scenario) => scenario.name.length))
  return all.map((scenario) => `  ${scenario.name.padEnd(column)}   ${scenario.teaches}`).join('\n')
}
