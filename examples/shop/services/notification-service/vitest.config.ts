import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/notification-service', include: ['src/**/*.test.ts'] } })
