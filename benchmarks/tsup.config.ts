import { defineConfig } from 'tsup'
import { application } from '../tooling/tsup.js'

export default defineConfig(
  application({
    'ground-floor': 'src/ground-floor/main.ts',
    discovery: 'src/discovery/main.ts',
    messaging: 'src/messaging/main.ts',
    'messaging-outbox': 'src/messaging-outbox.ts',
    saga: 'src/saga/main.ts',
  }),
)
