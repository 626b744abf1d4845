import { defineConfig } from 'vitest/config'

// Most of what these suites do is wait for a database, so that two of them do not disturb each other on two cores.
export default defineConfig({ test: { name: 'saga', include: ['src/**/*.test.ts'], maxWorkers: 2 } })
