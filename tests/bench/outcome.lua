-- What every script has wrk say when it is done, as JSON on the last line of the output. The
-- latencies are pairs of microseconds and how often they were counted.

function done(summary, latency)
   local errors, counts = summary.errors, {}
   for index = 1, #latency do
      counts[index] = string.format("[%d,%d]", latency(index))
   end
   io.write(string.format(
      '{"answers":%d,"us":%d,"errors":%d,"latencies":[%s]}\n',
      summary.requests, summary.duration,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      table.concat(counts, ",")))
end
