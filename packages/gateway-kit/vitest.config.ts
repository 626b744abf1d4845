import { defineConfig } from 'vitest/config'

// Most of what these suites do is wait for sockets, so that two of them do not disturb each other on two cores. Projects
// with workers of their own number run after the others.
export default defineConfig({
  test: {
    name: 'gateway-kit',
    include: ['src/**/*.test.ts'],
    isolate: false,
    maxWorkers: 2,
    sequence: { groupOrder: 1 },
  },
})
