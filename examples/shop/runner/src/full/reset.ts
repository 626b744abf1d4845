// `pnpm --filter shop reset:full`: drops what the shop of seven processes keeps on its servers, databases and queues.
import { SettingError } from '../settings.js'
import { StartError } from '../start-error.js'
import { claimShop } from './admin.js'
import { dropBrokerage } from './brokerage.js'
import { readFullSettings } from './full-settings.js'
import { databaseOf } from './names.js'
import { dropDatabases } from './provision.js'
import { databaseOwners } from './service-names.js'

try {
  const { addresses, shop } = readFullSettings(process.env)
  const admin = await claimShop(addresses.postgres, shop)
  try {
    await dropDatabases(
      admin,
      databaseOwners.map((service) => databaseOf(shop, service)),
    )
    await dropBrokerage(addresses.rabbitmq, shop)
  } finally {
    await admin.end()
  }
  console.log(`dropped the databases and queues of '${shop}'`)
} catch (error) {
  console.error(error instanceof SettingError || error instanceof StartError ? error.message : error)
  process.exitCode = 1
}
