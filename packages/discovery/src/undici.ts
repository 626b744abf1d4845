export { ServiceDispatcher, type ServiceDispatcherOptions } from './undici/service-dispatcher.js'
export { serviceFetch } from './undici/service-fetch.js'
