import { defineConfig } from 'tsup'
import { application } from '../tooling/tsup.js'

export default defineConfig(
  application({
    'ground-floor': 'src/ground-floor/main.ts',
    discovery: 'src/discovery/main.ts',
    gateway: 'src/gateway/main.ts',
    'gateway-backend': 'src/gateway/backend.ts',
    'gateway-paced': 'src/gateway/paced.ts',
    'gateway-process': 'src/gateway/gateway-process.ts',
    messaging: 'src/messaging/main.ts',
    'messaging-outbox': 'src/messaging-outbox.ts',
    saga: 'src/saga/main.ts',
  }),
)
