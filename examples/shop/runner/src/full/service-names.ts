/** The seven services, in the order of who calls whom; they stop in the reverse of it. */
export const serviceNames = [
  'user-service',
  'product-service',
  'payment-service',
  'notification-service',
  'analytics-service',
  'order-service',
  'api-gateway',
] as const

export type ServiceName = (typeof serviceNames)[number]

/** Those that keep something. */
export const databaseOwners: readonly ServiceName[] = serviceNames.filter((name) => name !== 'api-gateway')

export function isServiceName(text: string | undefined): text is ServiceName {
  return serviceNames.some((name) => name === text)
}
