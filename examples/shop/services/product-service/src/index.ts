export { createProductService, type ProductServiceOptions } from './service.js'
