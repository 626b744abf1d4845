export { type ContractCase, type SourceBench, type SourceSkills, sourceContract } from './testing/source-contract.js'
