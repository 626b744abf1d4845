export { type ApiGatewayDeps, createApiGateway } from './gateway.js'
export { type Limiters, type Quota, redisLimiters } from './limiters.js'
export { localLink, type OperationsLink, redisLink } from './operations/link.js'
