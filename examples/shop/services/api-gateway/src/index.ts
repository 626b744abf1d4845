export { type ApiGatewayDeps, createApiGateway } from './gateway.js'
