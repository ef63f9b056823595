//! What the Thrift compiler would generate for the service below, written by hand, so that the
//! compiler is not needed. The order of the calls on the protocols is the generator's.
//!
//! ```thrift
//! service Echo {
//!     string echo(1: string text)
//! }
//! ```

use thrift::protocol::{
    TFieldIdentifier, TInputProtocol, TMessageIdentifier, TMessageType, TOutputProtocol,
    TStructIdentifier, TType, verify_expected_message_type, verify_expected_sequence_number,
    verify_expected_service_call, verify_required_field_exists,
};
use thrift::server::{TProcessor, handle_process_result};
use thrift::{ApplicationError, ApplicationErrorKind};

const METHOD: &str = "echo";

/// A string as the only field of a struct: the arguments of a call, or its result.
struct OneText {
    name: &'static str,
    field: &'static str,
    id: i16,
}

const ARGUMENTS: OneText = OneText { name: "EchoEchoArgs", field: "text", id: 1 };

const RESULT: OneText = OneText { name: "EchoEchoResult", field: "result_value", id: 0 };

impl OneText {
    fn write(&self, text: &str, output: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        output.write_struct_begin(&TStructIdentifier::new(self.name))?;
        output.write_field_begin(&TFieldIdentifier::new(self.field, TType::String, self.id))?;
        output.write_string(text)?;
        output.write_field_end()?;
        output.write_field_stop()?;
        output.write_struct_end()
    }

    fn read(&self, input: &mut dyn TInputProtocol) -> thrift::Result<String> {
        let mut text = None;
        input.read_struct_begin()?;
        loop {
            let field = input.read_field_begin()?;
            if field.field_type == TType::Stop {
                break;
            }
            if field.id == Some(self.id) {
                text = Some(input.read_string()?);
            } else {
                input.skip(field.field_type)?;
            }
            input.read_field_end()?;
        }
        input.read_struct_end()?;
        verify_required_field_exists(self.field, &text)?;
        Ok(text.unwrap_or_default())
    }
}

/// What a server does when it is called.
pub(crate) trait Handler {
    fn echo(&self, text: String) -> thrift::Result<String>;
}

/// Reads a call, asks the handler and writes the reply.
pub(crate) struct Processor<H>(pub(crate) H);

impl<H: Handler> TProcessor for Processor<H> {
    fn process(
        &self,
        input: &mut dyn TInputProtocol,
        output: &mut dyn TOutputProtocol,
    ) -> thrift::Result<()> {
        let call = input.read_message_begin()?;
        let done = match call.name.as_str() {
            METHOD => self.process_echo(call.sequence_number, input, output),
            unknown => Err(thrift::Error::Application(ApplicationError::new(
                ApplicationErrorKind::UnknownMethod,
                format!("unknown method {unknown}"),
            ))),
        };
        handle_process_result(&call, done, output)
    }
}

impl<H: Handler> Processor<H> {
    fn process_echo(
        &self,
        sequence_number: i32,
        input: &mut dyn TInputProtocol,
        output: &mut dyn TOutputProtocol,
    ) -> thrift::Result<()> {
        let text = ARGUMENTS.read(input)?;
        input.read_message_end()?;
        let echo = self.0.echo(text)?;
        let reply = TMessageIdentifier::new(METHOD, TMessageType::Reply, sequence_number);
        output.write_message_begin(&reply)?;
        RESULT.write(&echo, output)?;
        output.write_message_end()?;
        output.flush()
    }
}

/// Makes one call at a time.
pub(crate) struct Client<I, O> {
    input: I,
    output: O,
    sequence_number: i32,
}

impl<I: TInputProtocol, O: TOutputProtocol> Client<I, O> {
    pub(crate) fn new(input: I, output: O) -> Client<I, O> {
        Client { input, output, sequence_number: 0 }
    }

    pub(crate) fn echo(&mut self, text: &str) -> thrift::Result<String> {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let call = TMessageIdentifier::new(METHOD, TMessageType::Call, self.sequence_number);
        self.output.write_message_begin(&call)?;
        ARGUMENTS.write(text, &mut self.output)?;
        self.output.write_message_end()?;
        self.output.flush()?;

        let reply = self.input.read_message_begin()?;
        verify_expected_sequence_number(self.sequence_number, reply.sequence_number)?;
        verify_expected_service_call(METHOD, &reply.name)?;
        if reply.message_type == TMessageType::Exception {
            let error = thrift::Error::read_application_error_from_in_protocol(&mut self.input)?;
            self.input.read_message_end()?;
            return Err(thrift::Error::Application(error));
        }
        verify_expected_message_type(TMessageType::Reply, reply.message_type)?;
        let echo = RESULT.read(&mut self.input)?;
        self.input.read_message_end()?;
        Ok(echo)
    }
}
